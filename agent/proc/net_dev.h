// Bytes through a network interface: /proc/net/dev. Cumulative since the interface came up. Pure
// and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct NicCounters {
  uint64_t received_bytes = 0;
  uint64_t sent_bytes = 0;
};

// NOT_FOUND when the file has no such interface.
absl::StatusOr<NicCounters> ParseNetDev(absl::string_view proc_net_dev,
                                        absl::string_view interface);

}  // namespace trunkline
