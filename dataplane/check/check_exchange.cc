#include "dataplane/check/check_exchange.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_start_line.h"
#include "dataplane/codec/opening.h"
#include "dataplane/table/health_check.h"

namespace trunkline {
namespace {

constexpr std::string_view kPing = "PING\r\n";
constexpr std::string_view kPong = "+PONG";
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kFieldsEnd = "\r\n\r\n";
// A description shows this much of each side.
constexpr size_t kMaxShownBytes = 64;

std::string Quote(std::string_view bytes) {
  return absl::StrCat("\"", absl::CHexEscape(AbslView(bytes.substr(0, kMaxShownBytes))), "\"",
                      bytes.size() > kMaxShownBytes ? "..." : "");
}

// A unix socket has no name that a server knows.
std::string_view HostOf(const HttpCheck& check, std::string_view address) {
  if (!check.host.empty()) return check.host;
  return address.starts_with("unix:") ? "localhost" : address;
}

std::string HttpRequest(const HttpCheck& check, std::string_view path, std::string_view address) {
  return absl::StrCat(check.method, " ", AbslView(path),
                      " HTTP/1.1\r\nHost: ", AbslView(HostOf(check, address)),
                      "\r\nUser-Agent: trunkline-health-check\r\nAccept: */*\r\n"
                      "Connection: close\r\n\r\n");
}

// The request without the query, which may have a key.
std::string ShownRequest(const HealthCheck& check, std::string_view address) {
  const auto* http = std::get_if<HttpCheck>(&check.kind);
  if (http == nullptr) return {};
  const size_t query = http->path.find('?');
  if (query == http->path.npos) return HttpRequest(*http, http->path, address);
  return HttpRequest(*http, http->path.substr(0, query) + "?...", address);
}

// Null if the check sends no credential.
std::unique_ptr<ConnectionOpening> OpeningOf(const RedisCheck& check) {
  return check.login != nullptr ? ConnectionOpening::For(check.login, /*variant=*/0) : nullptr;
}

// Redis answers requests in their order, so PING does not wait for the reply to the credential.
std::string RequestOf(const HealthCheck& check, std::string_view address) {
  if (const auto* tcp = std::get_if<TcpCheck>(&check.kind)) return tcp->send;
  if (const auto* http = std::get_if<HttpCheck>(&check.kind)) {
    return HttpRequest(*http, http->path, address);
  }
  const auto opening = OpeningOf(std::get<RedisCheck>(check.kind));
  std::string request(opening != nullptr ? opening->bytes() : std::string_view());
  return request += kPing;
}

// The server's reply to the credential, if the check sends one.
struct LoginReply {
  ConnectionOpening::State state = ConnectionOpening::State::kAccepted;
  size_t used = 0;  // bytes from the front
  // Why it was refused, without the reply itself, which may repeat the credential.
  std::string fault;
};

std::span<const uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

LoginReply ReadLogin(const RedisCheck& check, std::string_view received) {
  const auto opening = OpeningOf(check);
  if (opening == nullptr) return {};
  const ConnectionOpening::Step step = opening->Read(BytesOf(received));
  return {.state = step.state, .used = step.used, .fault = opening->fault()};
}

std::string ExpectedStatuses(const HttpCheck& check) {
  std::string text = "a status of ";
  for (const HttpCheck::Statuses& range : check.expected) {
    if (text.back() != ' ') text += ", ";
    absl::StrAppend(&text, range.first);
    if (range.last != range.first) absl::StrAppend(&text, "-", range.last);
  }
  return text;
}

}  // namespace

CheckExchange::CheckExchange(const HealthCheck& check, const std::string& header,
                             std::string_view address)
    : kind_(check.kind),
      shown_request_(ShownRequest(check, address)),
      has_header_(!header.empty()),
      to_send_(header + RequestOf(check, address)) {}

CheckExchange::State CheckExchange::OnSent() const {
  const auto* tcp = std::get_if<TcpCheck>(&kind_);
  return tcp != nullptr && tcp->expect.empty() ? State::kPassed : State::kMore;
}

CheckExchange::State CheckExchange::OnBytes(std::string_view bytes) {
  const size_t fresh = received_.size();
  received_ += bytes.substr(0, kMaxReplyBytes - fresh);
  const State state = Classify(fresh);
  if (state == State::kMore && received_.size() == kMaxReplyBytes) return State::kFailed;
  return state;
}

// The bytes from `fresh` on are new.
CheckExchange::State CheckExchange::Classify(size_t fresh) const {
  if (const auto* http = std::get_if<HttpCheck>(&kind_)) return FindStatus(*http);
  if (const auto* tcp = std::get_if<TcpCheck>(&kind_)) return FindBytes(*tcp, fresh);
  return FindPong(std::get<RedisCheck>(kind_));
}

CheckExchange::State CheckExchange::FindBytes(const TcpCheck& check, size_t fresh) const {
  // Not decided by bytes, but by OnSent.
  if (check.expect.empty()) return State::kMore;
  // The match may begin in old bytes.
  const size_t from = fresh - std::min(fresh, check.expect.size() - 1);
  return received_.find(check.expect, from) != received_.npos ? State::kPassed : State::kMore;
}

CheckExchange::State CheckExchange::FindPong(const RedisCheck& check) const {
  const LoginReply login = ReadLogin(check, received_);
  if (login.state == ConnectionOpening::State::kMore) return State::kMore;
  if (login.state != ConnectionOpening::State::kAccepted) return State::kFailed;
  const std::string_view rest = std::string_view(received_).substr(login.used);
  const size_t end = rest.find(kLineEnd);
  if (end == rest.npos) return State::kMore;
  return rest.substr(0, end) == kPong ? State::kPassed : State::kFailed;
}

// 1xx responses are informational; skip them, except for the last one, 101.
CheckExchange::State CheckExchange::FindStatus(const HttpCheck& check) const {
  constexpr int kSwitchingProtocols = 101;
  for (size_t at = 0; at < received_.size();) {
    const std::string_view rest = std::string_view(received_).substr(at);
    Http1StatusLine line;
    const ParseStep step = line.Parse(BytesOf(rest));
    if (step.state == ParseState::kBroken) return State::kFailed;
    if (step.state != ParseState::kEnd) return State::kMore;
    const int status = line.status();
    if (status >= 200 || status == kSwitchingProtocols) {
      return std::ranges::any_of(check.expected,
                                 [&](const HttpCheck::Statuses& range) {
                                   return range.first <= status && status <= range.last;
                                 })
                 ? State::kPassed
                 : State::kFailed;
    }
    const size_t end = received_.find(kFieldsEnd, at);
    if (end == received_.npos) return State::kMore;
    at = end + kFieldsEnd.size();
  }
  return State::kMore;
}

std::string CheckExchange::DescribeSent() const {
  if (const auto* tcp = std::get_if<TcpCheck>(&kind_)) {
    const size_t size = tcp->send.size();
    return size == 0 ? "nothing" : absl::StrCat(size, size == 1 ? " byte" : " bytes");
  }
  if (std::holds_alternative<HttpCheck>(kind_)) return Quote(shown_request_);
  const bool opens = OpeningOf(std::get<RedisCheck>(kind_)) != nullptr;
  return absl::StrCat(opens ? "a credential and " : "", Quote(kPing));
}

std::string CheckExchange::Describe() const {
  std::string text =
      absl::StrCat("sent ", DescribeSent(), has_header_ ? " after a PROXY protocol header" : "");
  LoginReply login;
  if (const auto* redis = std::get_if<RedisCheck>(&kind_)) login = ReadLogin(*redis, received_);
  if (!login.fault.empty()) return absl::StrCat(text, "; ", login.fault);
  const std::string_view answer = std::string_view(received_).substr(login.used);
  absl::StrAppend(&text, ", got ", answer.empty() ? "nothing" : Quote(answer));
  if (login.used > 0) text += " after the reply to the credential";
  if (const auto* http = std::get_if<HttpCheck>(&kind_)) {
    return absl::StrCat(text, ", expected ", ExpectedStatuses(*http));
  }
  const auto* tcp = std::get_if<TcpCheck>(&kind_);
  const std::string_view expected = tcp != nullptr ? std::string_view(tcp->expect) : kPong;
  return expected.empty() ? text : absl::StrCat(text, ", expected ", Quote(expected));
}

}  // namespace trunkline
