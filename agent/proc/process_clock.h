// Reads the CPU time of a process in nanoseconds, from the clock that the kernel keeps for each
// process (clock_getcpuclockid(3)).
//
// /proc/PID/stat counts in ticks of 10 ms. The clock is exact, covers all threads, ended ones
// included, and needs no privileges. Edge. Thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace trunkline {

// NOT_FOUND means that the process has ended and its parent has waited for it.
absl::StatusOr<uint64_t> ProcessCpuNanos(int pid);

}  // namespace trunkline
