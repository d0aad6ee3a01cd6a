// "host:port" and "unix:/path" as values. Immutable; no name look-ups here (see socket.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trunkline {

struct Address {
  // Host name, IPv4 or IPv6 literal (without brackets); empty for a unix socket.
  std::string host;
  uint16_t port = 0;
  // Empty for TCP.
  std::string unix_path;

  bool is_unix() const { return !unix_path.empty(); }
  // "10.0.0.1:80", "[::1]:80", "unix:/run/x".
  std::string ToString() const;
  friend bool operator==(const Address&, const Address&) = default;
};

// INVALID_ARGUMENT says what was expected: "host:port, [ipv6]:port or unix:/path".
absl::StatusOr<Address> ParseAddress(std::string_view text);

}  // namespace trunkline
