#include "common/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/absl_view.h"

namespace trunkline {
namespace {

constexpr absl::string_view kUnixPrefix = "unix:";
// The kernel's limit, less the closing NUL.
constexpr size_t kMaxUnixPath = sizeof(sockaddr_un::sun_path) - 1;
// RFC 1035.
constexpr size_t kMaxHostName = 253;

absl::Status Malformed(absl::string_view text, absl::string_view why = "") {
  return absl::InvalidArgumentError(
      absl::StrCat("expected host:port, [ipv6]:port or unix:/path; got \"", text, "\"", why));
}

// A zone, as in "fe80::1%eth0", names the interface of a link-local address (RFC 4007).
bool IsIpv6(const std::string& host) {
  const size_t percent = host.find('%');
  const std::string zone = percent == host.npos ? "0" : host.substr(percent + 1);
  const bool good_zone = !zone.empty() && std::all_of(zone.begin(), zone.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
  in6_addr ignored;
  return good_zone && inet_pton(AF_INET6, host.substr(0, percent).c_str(), &ignored) == 1;
}

bool IsIpv4OrName(const std::string& host) {
  if (host.empty() || host.size() > kMaxHostName) return false;
  const bool numeric = std::all_of(host.begin(), host.end(),
                                   [](char c) { return absl::ascii_isdigit(c) || c == '.'; });
  if (numeric) {
    in_addr ignored;
    return inet_pton(AF_INET, host.c_str(), &ignored) == 1;
  }
  return std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

bool ParsePort(absl::string_view text, uint16_t* port) {
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  uint32_t value = 0;
  if (!digits || !absl::SimpleAtoi(text, &value) || value > 65535) return false;
  *port = static_cast<uint16_t>(value);
  return true;
}

absl::StatusOr<Address> ParseUnix(absl::string_view text) {
  const absl::string_view path = text.substr(kUnixPrefix.size());
  if (!absl::StartsWith(path, "/") || path.find('\0') != path.npos) return Malformed(text);
  if (path.size() > kMaxUnixPath) {
    return Malformed(text, absl::StrCat(" (a path has at most ", kMaxUnixPath, " bytes)"));
  }
  Address address;
  address.unix_path = std::string(path);
  return address;
}

}  // namespace

std::string Address::ToString() const {
  if (is_unix()) return absl::StrCat(kUnixPrefix, unix_path);
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool IsHostName(const Address& address) {
  in_addr ignored;
  return !address.is_unix() && address.host.find(':') == address.host.npos &&
         inet_pton(AF_INET, address.host.c_str(), &ignored) != 1;
}

absl::StatusOr<Address> ParseAddress(std::string_view input) {
  const absl::string_view text = AbslView(input);
  if (absl::StartsWith(text, kUnixPrefix)) return ParseUnix(text);
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return Malformed(text);
  Address address;
  if (!ParsePort(text.substr(colon + 1), &address.port)) {
    return Malformed(text, " (a port is a number from 0 to 65535)");
  }
  const absl::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  address.host = std::string(bracketed ? host.substr(1, host.size() - 2) : host);
  const bool good = bracketed ? IsIpv6(address.host) : IsIpv4OrName(address.host);
  if (!good) return Malformed(text);
  return address;
}

std::string WithPort(std::string_view address, int port) {
  return absl::StrCat(AbslView(address.substr(0, address.rfind(':'))), ":", port);
}

}  // namespace trunkline
