#include "common/net/ip_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace trunkline {
namespace {

// ::ffff:0:0/96 (RFC 4291, 2.5.5.2)
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int SystemFamily(IpPort::Family family) {
  return family == IpPort::Family::kIpv4 ? AF_INET : AF_INET6;
}

}  // namespace

std::string IpPort::IpText() const {
  if (!known()) return "";
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(SystemFamily(family), ip.data(), text, sizeof text);
  return text;
}

std::string IpPort::ToString() const {
  if (!known()) return "";
  return family == Family::kIpv4 ? absl::StrCat(IpText(), ":", port)
                                 : absl::StrCat("[", IpText(), "]:", port);
}

IpPort IpPort::Unmapped() const {
  const bool mapped =
      family == Family::kIpv6 && std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), ip.begin());
  if (!mapped) return *this;
  IpPort plain{.port = port, .family = Family::kIpv4};
  std::copy(ip.begin() + kMappedPrefix.size(), ip.end(), plain.ip.begin());
  return plain;
}

IpPort IpPort::Mapped() const {
  if (family != Family::kIpv4) return *this;
  IpPort mapped{.port = port, .family = Family::kIpv6};
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), mapped.ip.begin());
  std::copy(ip.begin(), ip.begin() + 4, mapped.ip.begin() + kMappedPrefix.size());
  return mapped;
}

IpPort IpPortOf(const sockaddr* address) {
  IpPort result;
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    std::memcpy(result.ip.data(), &in->sin_addr, sizeof in->sin_addr);
    result.port = ntohs(in->sin_port);
    result.family = IpPort::Family::kIpv4;
  } else if (address->sa_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(address);
    std::memcpy(result.ip.data(), &in6->sin6_addr, sizeof in6->sin6_addr);
    result.port = ntohs(in6->sin6_port);
    result.family = IpPort::Family::kIpv6;
  }
  return result.Unmapped();
}

bool ParseIp(std::string_view text, IpPort::Family family, IpPort* to) {
  char terminated[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof terminated || text.find('\0') != text.npos) return false;
  terminated[text.copy(terminated, text.size())] = '\0';
  to->family = family;
  return inet_pton(SystemFamily(family), terminated, to->ip.data()) == 1;
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, port);
  const bool leading_zero = text.size() > 1 && text.front() == '0';
  if (read.ec != std::errc() || read.ptr != end || leading_zero) return std::nullopt;
  return port;
}

std::optional<IpPort> ParseIpPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  const std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  IpPort result;
  const auto family = bracketed ? IpPort::Family::kIpv6 : IpPort::Family::kIpv4;
  if (!port || !ParseIp(host, family, &result)) return std::nullopt;
  result.port = *port;
  return result;
}

}  // namespace trunkline
