#include "common/config/health_check_options.h"

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/config/durations.h"
#include "common/config/http_token.h"
#include "common/config/rule_check.h"

namespace trunkline {
namespace {

constexpr absl::Duration kDefaultInterval = absl::Seconds(5);
constexpr absl::Duration kDefaultTimeout = absl::Seconds(2);
// Bounds `send`, so that it fits into the send buffer of a new socket.
constexpr size_t kMaxBytes = 1024;
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

absl::Status CheckTcp(const v1::TcpCheck& check) {
  absl::Status checked = CheckSize("tcp.send", check.send());
  checked.Update(CheckSize("tcp.expect", check.expect()));
  return checked;
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
      return absl::OkStatus();
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
  if (message.has_max_connections()) {
    return absl::InvalidArgumentError(
        "health_check: expected without message.max_connections, because checks need connections "
        "of their own, which the servers may not have; remove one of them");
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
