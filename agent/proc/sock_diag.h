// How many clients a server has and how much passes through them, asked of the kernel over netlink
// (sock_diag(7)).
//
// A dump of the servers' ports costs one system call a few hundred sockets, where /proc/net/tcp
// would cost the text of every socket of the host. This file builds the request and reads the
// replies; agent/sample/sock_diag_socket.h talks. Pure and thread-safe. Replies come from the
// kernel but are measured like anyone's: a wrong length is INVALID_ARGUMENT.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace trunkline {

struct SocketBytes {
  // The kernel's name of a socket for as long as it lives.
  uint64_t cookie = 0;
  // Acknowledged by the client, and received from it; zero before Linux 4.1.
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

struct PortSockets {
  // Sockets beyond this are counted but their bytes are not followed: 2.4 MB of memory.
  static constexpr size_t kMaxSockets = 100'000;

  uint32_t established = 0;
  std::vector<SocketBytes> sockets;
};

struct SocketDump {
  // CPU time that it took: the kernel walks all sockets of the host, other programs' too.
  absl::Duration cost;
  // By local port; one that has no connections is not there.
  std::map<uint16_t, PortSockets> ports;
};

// The most ports that one request can name.
constexpr size_t kMaxDumpPorts = 1000;

// A request for the established TCP sockets with one of these local ports, at least one, at most
// kMaxDumpPorts; `family` is AF_INET or AF_INET6 (which includes IPv4 clients of a dual-stack
// listener).
std::string BuildSocketDumpRequest(uint8_t family, const std::vector<uint16_t>& ports,
                                   uint32_t sequence);

// Adds one datagram of replies to `dump`. True: that was the last. Replies to another sequence are
// skipped. A refusal by the kernel is its errno as a status.
absl::StatusOr<bool> ParseSocketDumpReply(absl::string_view datagram, uint32_t sequence,
                                          SocketDump& dump);

}  // namespace trunkline
