// Parses the files of one control group: use and limits of CPU and memory.
//
// A missing limit is kNoLimit, so that the tightest of several limits is their minimum. Formats:
// the kernel's admin-guide/cgroup-v2, cgroup-v1/memory and scheduler/sched-bwc. Pure and
// thread-safe. INVALID_ARGUMENT names the file.
#pragma once

#include <limits>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// Returns the quota in cores from version 2's cpu.max ("200000 100000", "max 100000").
absl::StatusOr<double> ParseCpuMax(absl::string_view cpu_max);
// Returns the quota in cores from version 1's cpu.cfs_quota_us (-1 for no limit) and
// cpu.cfs_period_us.
absl::StatusOr<double> ParseCfsQuota(absl::string_view quota_us, absl::string_view period_us);

// Returns usage_usec of version 2's cpu.stat in seconds.
absl::StatusOr<double> ParseCpuStatSeconds(absl::string_view cpu_stat);
// Returns version 1's cpuacct.usage in seconds.
absl::StatusOr<double> ParseCpuacctSeconds(absl::string_view cpuacct_usage);

// How often and how long a CPU quota stopped a group, since the group was made.
struct CpuThrottling {
  // Quota periods in which the group ran, and the number of them in which it used up its quota.
  double periods = 0;
  double throttled_periods = 0;
  // Sum over all cores of the time for which the group's tasks were stopped there.
  double throttled_seconds = 0;
};
// From the cpu.stat of either version. NOT_FOUND: version 2 without the cpu controller.
absl::StatusOr<CpuThrottling> ParseCpuThrottling(absl::string_view cpu_stat);

// Returns the bytes of memory.max or memory.limit_in_bytes; kNoLimit for "max" and for the huge
// number by which version 1 expresses no limit.
absl::StatusOr<double> ParseMemoryLimit(absl::string_view text);
// Returns the bytes of memory.current or memory.usage_in_bytes.
absl::StatusOr<double> ParseMemoryUsage(absl::string_view text);
// Returns the file pages that the kernel reclaims before it kills a process, in bytes: from
// memory.stat of either version, over the whole subtree.
absl::StatusOr<double> ParseInactiveFile(absl::string_view memory_stat);
// Returns the memory of processes that is not backed by files, in bytes, from the same file.
absl::StatusOr<double> ParseAnonymous(absl::string_view memory_stat);

}  // namespace trunkline
