// What the files of one control group say: CPU used and allowed, memory used and allowed.
//
// Limits come back as kNoLimit when there is none, so that the tightest of several is their
// minimum. Formats: the kernel's admin-guide/cgroup-v2, cgroup-v1/memory, scheduler/sched-bwc. Pure
// and thread-safe. INVALID_ARGUMENT names the file.
#pragma once

#include <limits>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// Version 2 cpu.max ("200000 100000", "max 100000"): cores.
absl::StatusOr<double> ParseCpuMax(absl::string_view cpu_max);
// Version 1 cpu.cfs_quota_us (-1: none) and cpu.cfs_period_us: cores.
absl::StatusOr<double> ParseCfsQuota(absl::string_view quota_us, absl::string_view period_us);

// Version 2 cpu.stat: usage_usec, as seconds.
absl::StatusOr<double> ParseCpuStatSeconds(absl::string_view cpu_stat);
// Version 1 cpuacct.usage: nanoseconds, as seconds.
absl::StatusOr<double> ParseCpuacctSeconds(absl::string_view cpuacct_usage);

// memory.max and memory.limit_in_bytes: "max", or a number at which version 1 means no limit:
// kNoLimit.
absl::StatusOr<double> ParseMemoryLimit(absl::string_view text);
// memory.current and memory.usage_in_bytes.
absl::StatusOr<double> ParseMemoryUsage(absl::string_view text);
// File pages that the kernel takes back before anyone is killed: memory.stat of either version, of
// the whole subtree.
absl::StatusOr<double> ParseInactiveFile(absl::string_view memory_stat);
// What processes have that no file holds; the same file, the whole subtree.
absl::StatusOr<double> ParseAnonymous(absl::string_view memory_stat);

}  // namespace trunkline
