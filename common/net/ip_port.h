// An IP address and a TCP port as a value of 20 bytes: small enough for every flow and for the keys
// of a table of clients. A sockaddr_storage takes 128 bytes.
//
// Immutable value; no name look-ups. Two families compare equal only after Unmapped or Mapped.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

struct sockaddr;

namespace trunkline {

struct IpPort {
  enum class Family : uint8_t { kNone, kIpv4, kIpv6 };

  std::array<uint8_t, 16> ip{};  // network order; IPv4 uses the first four bytes
  uint16_t port = 0;             // host order
  Family family = Family::kNone;

  bool known() const { return family != Family::kNone; }
  // "192.0.2.1", "2001:db8::1"; empty if unknown.
  std::string IpText() const;
  // "192.0.2.1:80", "[2001:db8::1]:80"; empty if unknown.
  std::string ToString() const;
  // An IPv4-mapped IPv6 address (::ffff:192.0.2.1) as IPv4; any other unchanged.
  IpPort Unmapped() const;
  // An IPv4 address as an IPv4-mapped IPv6 address; any other unchanged.
  IpPort Mapped() const;

  friend bool operator==(const IpPort&, const IpPort&) = default;
};
static_assert(sizeof(IpPort) == 20, "flows and source tables count on it");

// Unmapped, because a dual-stack listener shows IPv4 clients as IPv6. Unknown for other families.
IpPort IpPortOf(const sockaddr* address);

// Parses what ToString wrote: numbers without leading zeros, no other text around them.
std::optional<IpPort> ParseIpPort(std::string_view text);
// Parses what IpText wrote for an address of `family`. Returns false for anything else.
bool ParseIp(std::string_view text, IpPort::Family family, IpPort* to);
// 0 to 65535 in decimal, without leading zeros.
std::optional<uint16_t> ParsePort(std::string_view text);

}  // namespace trunkline
