// Netlink messages of a socket dump (sock_diag(7)), which counts a server's clients and their
// bytes, and finds its listening sockets.
//
// A dump of the servers' ports takes one system call per few hundred sockets, where /proc/net/tcp
// would print every socket of the host. This file builds requests and parses replies;
// agent/sample/sock_diag_socket.h exchanges them with the kernel. Pure and thread-safe. Lengths in
// replies are checked like those of any input: a wrong length is INVALID_ARGUMENT.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace trunkline {

struct SocketBytes {
  // Identifies the socket during its lifetime.
  uint64_t cookie = 0;
  // Bytes acknowledged by the client and bytes received from it; zero before Linux 4.1.
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

struct PortSockets {
  // Further sockets are counted without their bytes. Limits `sockets` to 2.4 MB.
  static constexpr size_t kMaxSockets = 100'000;
  static_assert(kMaxSockets * sizeof(SocketBytes) <= 2'400'000);

  uint32_t established = 0;
  std::vector<SocketBytes> sockets;
};

struct SocketDump {
  // CPU time of the dump. The kernel visits all sockets of the host, including other programs'.
  absl::Duration cost;
  // By local port; ports without connections are absent.
  std::map<uint16_t, PortSockets> ports;
};

// A TCP socket that accepts connections.
struct ListeningSocket {
  // The number in the link /proc/PID/fd/N of each process that holds the socket: "socket:[inode]".
  uint32_t inode = 0;
  // The family of the socket. Unless `only_ipv6` is set, one of IPv6 also accepts IPv4 if it is
  // bound to the wildcard or to an IPv4-mapped address.
  bool ipv6 = false;
  bool only_ipv6 = false;
  // Network order; IPv4 uses the first four bytes. All zero for the wildcard.
  std::array<uint8_t, 16> address{};
};

// Limit of the sockets in one dump. With SO_REUSEPORT a server has one per thread.
constexpr size_t kMaxListeners = 4096;

// Limit of ports in one request, whose filter has 16-bit lengths.
constexpr size_t kMaxDumpPorts = 1000;

// Builds a request for the established TCP sockets with any of these local ports, at least one and
// at most kMaxDumpPorts. `family` is AF_INET, or AF_INET6, which includes IPv4 clients of a
// dual-stack listener.
std::string BuildSocketDumpRequest(uint8_t family, const std::vector<uint16_t>& ports,
                                   uint32_t sequence);

// Adds one datagram of replies to `dump` and returns whether it was the last. Skips replies to
// another `sequence`. A refusal by the kernel becomes a status with its errno.
absl::StatusOr<bool> ParseSocketDumpReply(absl::string_view datagram, uint32_t sequence,
                                          SocketDump& dump);

// Builds a request for the TCP sockets of one family that listen on `port`. For it the kernel
// visits listening sockets only.
std::string BuildListenerDumpRequest(uint8_t family, uint16_t port, uint32_t sequence);

// As ParseSocketDumpReply, for that request. Adds up to kMaxListeners sockets.
absl::StatusOr<bool> ParseListenerDumpReply(absl::string_view datagram, uint32_t sequence,
                                            std::vector<ListeningSocket>& listeners);

}  // namespace trunkline
