// An address as configuration writes it: "host:port" or "unix:/path".
//
// Immutable value. The host may be a name; ResolveAddress in socket.h looks it up. ip_port.h has
// the compact form of an IP address, and docs/decisions.md explains why the types are separate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trunkline {

struct Address {
  // Host name, IPv4 or IPv6 literal (without brackets, possibly with a zone: "fe80::1%eth0"); empty
  // for a unix socket.
  std::string host;
  uint16_t port = 0;
  // The path of a unix socket; empty for TCP.
  std::string unix_path;

  bool is_unix() const { return !unix_path.empty(); }
  // "10.0.0.1:80", "[::1]:80", "unix:/run/x".
  std::string ToString() const;
  friend bool operator==(const Address&, const Address&) = default;
};

// Returns true for a host name, which must be looked up and may have another address later. IP
// addresses and unix sockets never change.
bool IsHostName(const Address& address);

// INVALID_ARGUMENT names the text and the expected form: "host:port, [ipv6]:port or unix:/path".
absl::StatusOr<Address> ParseAddress(std::string_view text);

// Replaces the port of a TCP address by the one that the kernel assigned: "host:0" and 7073 make
// "host:7073".
std::string WithPort(std::string_view address, int port);

}  // namespace trunkline
