// Asks the kernel for the sockets of a local port (agent/sock_diag.h has the messages).
// Edge; thread-safe: each call has a socket of its own.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "agent/sock_diag.h"

namespace trunkline {

// Established TCP connections of `port`, IPv4 and IPv6. A kernel without IPv6 or without tcp_diag
// has none of these.
absl::StatusOr<SocketDump> DumpSockets(uint16_t port);

}  // namespace trunkline
