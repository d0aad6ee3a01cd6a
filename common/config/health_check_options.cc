#include "common/config/health_check_options.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/config/durations.h"
#include "common/config/http_token.h"
#include "common/config/message_options.h"
#include "common/config/rule_check.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

constexpr absl::Duration kDefaultInterval = absl::Seconds(5);
constexpr absl::Duration kDefaultTimeout = absl::Seconds(2);
// Bounds `send`, so that it fits into the send buffer of a new socket.
constexpr size_t kMaxBytes = 1024;
// One connection for checks and one for clients.
constexpr uint32_t kLeastConnections = 2;
constexpr size_t kMaxHostBytes = 255;
constexpr size_t kMaxMethodBytes = 16;
constexpr int kMaxStatuses = 16;
// Errors show this much of a value.
constexpr size_t kMaxShownText = 80;

absl::Status Unexpected(std::string_view field, const std::string& expected, std::string_view got) {
  return absl::InvalidArgumentError(
      absl::StrCat("health_check.", AbslView(field), ": expected ", expected, "; got \"",
                   absl::CHexEscape(AbslView(got.substr(0, kMaxShownText))), "\""));
}

absl::Status CheckSize(std::string_view field, std::string_view bytes) {
  if (bytes.size() <= kMaxBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("health_check.", AbslView(field),
                                                 ": expected at most ", kMaxBytes, " bytes; got ",
                                                 bytes.size()));
}

// A space or a line end would begin another field of the request.
bool IsVisible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// Checks one pair of fields of a TCP check, of which one may be set, and stores its bytes.
absl::Status ReadBytes(const std::string& field, const std::string& text, const std::string& hex,
                       std::string* bytes) {
  if (!text.empty() && !hex.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("health_check.tcp: expected one of ", field,
                                                   " and ", field, "_hex; got both"));
  }
  if (hex.empty()) {
    *bytes = text;
    return CheckSize(absl::StrCat("tcp.", field), *bytes);
  }
  const std::string hex_field = absl::StrCat("tcp.", field, "_hex");
  std::optional<std::string> parsed = ParseHexBytes(hex);
  if (!parsed) {
    return Unexpected(hex_field,
                      "two hexadecimal digits for each byte, with or without single spaces between "
                      "bytes, for example 00 01 ff",
                      hex);
  }
  *bytes = *std::move(parsed);
  return CheckSize(hex_field, *bytes);
}

// Returns true if a line of `bytes` is AUTH or HELLO of Redis with a password, as text or in RESP.
bool HasRedisLogin(std::string_view bytes) {
  for (const absl::string_view line : absl::StrSplit(AbslView(bytes), absl::ByAnyChar("\r\n"))) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\"'"), absl::SkipEmpty());
    const auto is_auth = [](absl::string_view word) {
      return absl::EqualsIgnoreCase(word, "AUTH");
    };
    if (words.empty()) continue;
    if (is_auth(words[0])) return true;
    const bool greets = absl::EqualsIgnoreCase(words[0], "HELLO");
    if (greets && std::any_of(words.begin(), words.end(), is_auth)) return true;
  }
  return false;
}

absl::Status CheckTcp(const v1::TcpCheck& check) {
  std::string send;
  std::string expect;
  absl::Status checked = ReadBytes("send", check.send(), check.send_hex(), &send);
  checked.Update(ReadBytes("expect", check.expect(), check.expect_hex(), &expect));
  if (!checked.ok() || !HasRedisLogin(send)) return checked;
  return absl::InvalidArgumentError(absl::StrCat(
      "health_check.tcp.", check.send_hex().empty() ? "send" : "send_hex",
      ": expected no password, which would be in configurations and snapshots; got a line with "
      "AUTH; use health_check.redis with auth.password_file, or without auth beside "
      "message.redis.auth"));
}

absl::Status CheckHttp(const v1::HttpCheck& check) {
  const std::string& method = check.method();
  const bool known = method.size() <= kMaxMethodBytes && IsHttpToken(method);
  if (!method.empty() && (!known || method == "CONNECT")) {
    return Unexpected("http.method", "a method such as GET or HEAD, and not CONNECT", method);
  }
  const std::string& path = check.path();
  if (absl::Status fits = CheckSize("http.path", path); !fits.ok()) return fits;
  if (!path.empty() && ((path[0] != '/' && path != "*") || !IsVisible(path))) {
    return Unexpected("http.path", "a path that begins with / and has no spaces", path);
  }
  if (check.host().size() > kMaxHostBytes || !IsVisible(check.host())) {
    return Unexpected("http.host",
                      absl::StrCat("a host of at most ", kMaxHostBytes,
                                   " visible ASCII characters, for example www.example.org"),
                      check.host());
  }
  if (check.expected_statuses_size() > kMaxStatuses) {
    return absl::InvalidArgumentError(
        absl::StrCat("health_check.http.expected_statuses: expected at most ", kMaxStatuses,
                     " entries; got ", check.expected_statuses_size()));
  }
  for (const std::string& status : check.expected_statuses()) {
    if (ParseStatusRange(status)) continue;
    return Unexpected("http.expected_statuses",
                      "a status code from 100 to 599 or a range such as 200-299", status);
  }
  return absl::OkStatus();
}

absl::Status CheckKind(const v1::HealthCheck& check) {
  switch (check.kind_case()) {
    case v1::HealthCheck::kTcp:
      return CheckTcp(check.tcp());
    case v1::HealthCheck::kHttp:
      return CheckHttp(check.http());
    case v1::HealthCheck::kRedis:
      return check.redis().has_auth()
                 ? CheckRedisAuth(check.redis().auth(), "health_check.redis.auth")
                 : absl::OkStatus();
    case v1::HealthCheck::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("health_check: expected one of tcp, http, redis; got none");
}

absl::Status CheckService(v1::ForwardingMode mode, const v1::MessageOptions& message) {
  if (mode != v1::FORWARDING_MODE_DIRECT && mode != v1::FORWARDING_MODE_MESSAGE) {
    return absl::InvalidArgumentError(
        "health_check: expected only with mode: direct or mode: message, because in mode: tunnel "
        "the agent of each endpoint watches its server; remove it or change the mode");
  }
  if (message.has_max_connections() && message.max_connections() < kLeastConnections) {
    return absl::InvalidArgumentError(
        absl::StrCat("health_check: expected message.max_connections of at least ",
                     kLeastConnections, ", because one of them is kept for checks; got ",
                     message.max_connections(), "; remove one of the two or raise the limit"));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<StatusRange> ParseStatusRange(std::string_view text) {
  const auto read = [](std::string_view digits, int* code) {
    const bool three = digits.size() == 3 && digits.find_first_not_of("0123456789") == digits.npos;
    return three && absl::SimpleAtoi(AbslView(digits), code) && *code >= 100 && *code <= 599;
  };
  StatusRange range;
  const size_t dash = text.find('-');
  if (!read(text.substr(0, dash), &range.first)) return std::nullopt;
  range.last = range.first;
  if (dash == text.npos) return range;
  if (!read(text.substr(dash + 1), &range.last)) return std::nullopt;
  return range.first <= range.last ? std::optional(range) : std::nullopt;
}

std::optional<std::string> ParseHexBytes(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size(); at += 2) {
    if (!bytes.empty() && text[at] == ' ') ++at;
    const std::string_view digits = text.substr(at, 2);
    uint8_t byte = 0;
    const char* const end = digits.data() + digits.size();
    const auto [read_to, error] = std::from_chars(digits.data(), end, byte, 16);
    if (digits.size() != 2 || error != std::errc() || read_to != end) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

absl::Duration CheckIntervalOf(const v1::HealthCheck& check) {
  return check.has_interval() ? ReadDuration(check.interval()) : kDefaultInterval;
}

absl::Duration CheckTimeoutOf(const v1::HealthCheck& check, absl::Duration interval) {
  return check.has_timeout() ? ReadDuration(check.timeout()) : std::min(kDefaultTimeout, interval);
}

absl::Status CheckHealthCheck(const v1::HealthCheck& check, v1::ForwardingMode mode,
                              const v1::MessageOptions& message) {
  if (absl::Status fits = CheckService(mode, message); !fits.ok()) return fits;
  if (absl::Status checked = CheckRules(check, "health_check"); !checked.ok()) return checked;
  const absl::Duration interval = CheckIntervalOf(check);
  const absl::Duration timeout = CheckTimeoutOf(check, interval);
  if (timeout > interval) {
    return absl::InvalidArgumentError(
        absl::StrCat("health_check.timeout: expected at most health_check.interval, which is ",
                     absl::FormatDuration(interval), "; got ", absl::FormatDuration(timeout)));
  }
  return CheckKind(check);
}

}  // namespace trunkline
