// Parses from /proc/net/netstat how many connections the kernel dropped because the accept queue of
// a listening socket was full. The count is cumulative and covers the network namespace. Pure and
// thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// Returns TcpExt ListenOverflows.
absl::StatusOr<uint64_t> ParseListenOverflows(absl::string_view proc_net_netstat);

}  // namespace trunkline
