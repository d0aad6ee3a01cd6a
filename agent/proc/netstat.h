// Connections that the kernel dropped because a server did not accept them in time:
// /proc/net/netstat. Cumulative, of the whole network namespace. Pure and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// TcpExt ListenOverflows.
absl::StatusOr<uint64_t> ParseListenOverflows(absl::string_view proc_net_netstat);

}  // namespace trunkline
