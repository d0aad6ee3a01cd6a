// An IP address and a TCP port as a value of 20 bytes: what a flow can afford to keep of its
// client, where a sockaddr_storage has 128. Immutable values; nothing here looks a name up.
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

  std::array<uint8_t, 16> ip{};  // network order; of IPv4 the first four
  uint16_t port = 0;             // host order
  Family family = Family::kNone;

  bool known() const { return family != Family::kNone; }
  // "192.0.2.1", "2001:db8::1"; empty when not known.
  std::string IpText() const;
  // "192.0.2.1:80", "[2001:db8::1]:80"; empty when not known.
  std::string ToString() const;
  // The same place as an IPv4 address, where it is one in IPv6's clothes (::ffff:192.0.2.1).
  IpPort Unmapped() const;
  // And the other way round.
  IpPort Mapped() const;

  friend bool operator==(const IpPort&, const IpPort&) = default;
};

// Unmapped: a listener for both families shows IPv4 clients as IPv6. Not known: of another family.
IpPort IpPortOf(const sockaddr* address);

// What ToString wrote. Numbers without leading zeros, nothing before or after.
std::optional<IpPort> ParseIpPort(std::string_view text);
// The same without a port, as IpText wrote; one family only.
bool ParseIp(std::string_view text, IpPort::Family family, IpPort* to);
// 0 to 65535 in decimal, without leading zeros.
std::optional<uint16_t> ParsePort(std::string_view text);

}  // namespace trunkline
