// Asks the kernel for the sockets of local ports (agent/proc/sock_diag.h has the messages).
// Edge; thread-safe: each call has a socket of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/proc/sock_diag.h"

namespace trunkline {

// Established TCP connections of `ports`, IPv4 and IPv6, at most kMaxDumpPorts of them. A kernel
// without IPv6 or without tcp_diag has none of these.
absl::StatusOr<SocketDump> DumpSockets(const std::vector<uint16_t>& ports);

}  // namespace trunkline
