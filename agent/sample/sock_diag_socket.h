// Dumps the sockets of local ports; agent/proc/sock_diag.h has the messages. Edge. Thread-safe:
// each call opens its own netlink socket.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/proc/sock_diag.h"

namespace trunkline {

// Returns the established TCP connections of `ports` (at most kMaxDumpPorts), IPv4 and IPv6. A
// kernel without IPv6 or tcp_diag reports none.
absl::StatusOr<SocketDump> DumpSockets(const std::vector<uint16_t>& ports);

// Returns the TCP sockets of this network namespace that listen on `port`, IPv4 and IPv6. Costs
// about as much as the host has listening sockets, and nothing for its connections.
absl::StatusOr<std::vector<ListeningSocket>> DumpListeners(uint16_t port);

}  // namespace trunkline
