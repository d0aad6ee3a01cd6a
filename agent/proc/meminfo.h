// Parses the host's memory from /proc/meminfo, which applies where no control group limits the
// server. Pure and thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct HostMemory {
  uint64_t total_bytes = 0;
  // Memory available without swapping. Kernels before 3.14 do not report it; it is then the sum of
  // free memory, buffers and cache.
  uint64_t available_bytes = 0;
};

absl::StatusOr<HostMemory> ParseMeminfo(absl::string_view proc_meminfo);

}  // namespace trunkline
