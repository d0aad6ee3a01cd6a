// The host's memory: /proc/meminfo. Used where no control group limits the server. Pure and
// thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct HostMemory {
  uint64_t total_bytes = 0;
  // What could be given out without swapping. Kernels before 3.14 do not say; then free, buffers
  // and cache.
  uint64_t available_bytes = 0;
};

absl::StatusOr<HostMemory> ParseMeminfo(absl::string_view proc_meminfo);

}  // namespace trunkline
