// Parses the byte counters of a network interface from /proc/net/dev, cumulative since the
// interface came up. Pure and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct NicCounters {
  uint64_t received_bytes = 0;
  uint64_t sent_bytes = 0;
};

// Returns NOT_FOUND if the file does not list the interface.
absl::StatusOr<NicCounters> ParseNetDev(absl::string_view proc_net_dev,
                                        absl::string_view interface);

}  // namespace trunkline
