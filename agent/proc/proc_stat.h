// CPU time as the kernel counts it: /proc/stat for the host, /proc/PID/stat for one process.
//
// Every value is cumulative in clock ticks; two readings and the time between them make a
// utilization. Formats: proc(5). Pure and thread-safe: text in, values out. INVALID_ARGUMENT says
// which field of which file was not as expected.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct HostCpu {
  // User, nice, system, irq, softirq and steal: what this host could not give to anyone else.
  uint64_t busy_ticks = 0;
  uint64_t total_ticks = 0;
  // Cores that are online.
  int cpus = 0;
};

absl::StatusOr<HostCpu> ParseHostCpu(absl::string_view proc_stat);

struct ProcessStat {
  int pid = 0;
  int parent_pid = 0;
  // 'R', 'S', 'Z' ...
  char state = '?';
  // As the kernel keeps it: up to 15 bytes, of any kind, spaces and parentheses too.
  std::string comm;
  // Own time.
  uint64_t own_ticks = 0;
  // Time of children that ended and were waited for, and of theirs.
  uint64_t reaped_children_ticks = 0;
  // Since the host's boot: with the pid, the identity of the process.
  uint64_t start_ticks = 0;
};

absl::StatusOr<ProcessStat> ParseProcessStat(absl::string_view proc_pid_stat);

// Of "0-3,8": 5. Empty text is an error: a process always has a core.
absl::StatusOr<int> CountCpuList(absl::string_view list);

// Of /proc/PID/status: how many cores its affinity mask and cpuset leave to it.
absl::StatusOr<int> ParseAllowedCpus(absl::string_view proc_pid_status);

}  // namespace trunkline
