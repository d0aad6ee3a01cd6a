// Parses how many TCP sockets a network namespace has from /proc/net/sockstat, and from sockstat6
// for IPv6. The count includes listening sockets and excludes TIME_WAIT. Pure and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// Returns "inuse" of the line TCP or TCP6, whichever the file contains.
absl::StatusOr<uint64_t> ParseTcpInUse(absl::string_view proc_net_sockstat);

}  // namespace trunkline
