#include "dataplane/check/check_exchange.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "dataplane/codec/http1_start_line.h"

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

std::string RequestOf(const HealthCheck& check, std::string_view address) {
  if (const auto* tcp = std::get_if<TcpCheck>(&check.kind)) return tcp->send;
  const auto* http = std::get_if<HttpCheck>(&check.kind);
  if (http == nullptr) return std::string(kPing);
  return absl::StrCat(http->method, " ", http->path,
                      " HTTP/1.1\r\nHost: ", AbslView(HostOf(*http, address)),
                      "\r\nUser-Agent: trunkline-health-check\r\nAccept: */*\r\n"
                      "Connection: close\r\n\r\n");
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
      header_bytes_(header.size()),
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
  if (const auto* tcp = std::get_if<TcpCheck>(&kind_)) {
    // Not decided by bytes, but by OnSent.
    if (tcp->expect.empty()) return State::kMore;
    // The match may begin in old bytes.
    const size_t from = fresh - std::min(fresh, tcp->expect.size() - 1);
    return received_.find(tcp->expect, from) != received_.npos ? State::kPassed : State::kMore;
  }
  const size_t end = received_.find(kLineEnd);
  if (end == received_.npos) return State::kMore;
  return std::string_view(received_).substr(0, end) == kPong ? State::kPassed : State::kFailed;
}

// 1xx responses are informational; skip them, except for the last one, 101.
CheckExchange::State CheckExchange::FindStatus(const HttpCheck& check) const {
  constexpr int kSwitchingProtocols = 101;
  for (size_t at = 0; at < received_.size();) {
    const std::string_view rest = std::string_view(received_).substr(at);
    Http1StatusLine line;
    const ParseStep step = line.Parse({reinterpret_cast<const uint8_t*>(rest.data()), rest.size()});
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

std::string CheckExchange::Describe() const {
  const std::string_view request = std::string_view(to_send_).substr(header_bytes_);
  std::string text = absl::StrCat("sent ", request.empty() ? "nothing" : Quote(request),
                                  header_bytes_ > 0 ? " after a PROXY protocol header" : "",
                                  ", got ", received_.empty() ? "nothing" : Quote(received_));
  if (const auto* http = std::get_if<HttpCheck>(&kind_)) {
    return absl::StrCat(text, ", expected ", ExpectedStatuses(*http));
  }
  const auto* tcp = std::get_if<TcpCheck>(&kind_);
  const std::string_view expected = tcp != nullptr ? std::string_view(tcp->expect) : kPong;
  return expected.empty() ? text : absl::StrCat(text, ", expected ", Quote(expected));
}

}  // namespace trunkline
