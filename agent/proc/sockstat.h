// How many TCP sockets a network namespace has: /proc/net/sockstat, and sockstat6 for those of
// IPv6. Listening ones are among them, those in TIME_WAIT are not. Pure and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// "inuse" of the line TCP or TCP6, whichever the file has.
absl::StatusOr<uint64_t> ParseTcpInUse(absl::string_view proc_net_sockstat);

}  // namespace trunkline
