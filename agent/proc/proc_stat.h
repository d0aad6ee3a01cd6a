// Parses CPU time from /proc/stat (host) and /proc/PID/stat (process).
//
// Values are cumulative, in clock ticks: a utilization needs two readings and the time between
// them. Formats: proc(5). Pure and thread-safe. INVALID_ARGUMENT names the file and the malformed
// field.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct HostCpu {
  // User, nice, system, irq, softirq and steal: time that no other process could use.
  uint64_t busy_ticks = 0;
  uint64_t total_ticks = 0;
  // Online cores.
  int cpus = 0;
};

absl::StatusOr<HostCpu> ParseHostCpu(absl::string_view proc_stat);

struct ProcessStat {
  int pid = 0;
  int parent_pid = 0;
  // The state letter, such as 'R', 'S' or 'Z'.
  char state = '?';
  // Up to 15 arbitrary bytes, including spaces and parentheses.
  std::string comm;
  // User and system time of the process itself.
  uint64_t own_ticks = 0;
  // Time of children that it has waited for, and of their reaped children.
  uint64_t reaped_children_ticks = 0;
  // Start time since boot. Together with the pid it identifies the process.
  uint64_t start_ticks = 0;
};

absl::StatusOr<ProcessStat> ParseProcessStat(absl::string_view proc_pid_stat);

// Counts the cores of a list: "0-3,8" has 5. Empty text is an error, since a process always has a
// core.
absl::StatusOr<int> CountCpuList(absl::string_view list);

// Returns how many cores the affinity mask and cpuset allow a process, from /proc/PID/status.
absl::StatusOr<int> ParseAllowedCpus(absl::string_view proc_pid_status);

}  // namespace trunkline
