// CPU time of a server with several processes: a root process and all its descendants.
//
// The sum of what each process has used itself, and what its reaped children had used: when a child
// ends, /proc loses it, but the kernel adds its time to the parent's. That time was counted while
// the child ran, so the parent's growth counts only beyond it. A parent that ignores its children
// never gets their time. Scan reads all of /proc and is called once per second; CpuSeconds reads
// the members only. Edge: reads through SystemFiles and the clock. Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "absl/status/statusor.h"
#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {

class ProcessTree {
 public:
  // Limit of members. A service has a few hundred processes; the kernel's limit is 4 million.
  static constexpr size_t kMaxProcesses = 4096;

  // ProcessCpuNanos, or a test's clock. NOT_FOUND means that the process has ended; with any other
  // error, or without a clock, the ticks of /proc count.
  using Clock = std::function<absl::StatusOr<uint64_t>(int pid)>;

  // `files` outlives the tree. `ticks_per_second` is sysconf(_SC_CLK_TCK), except for recorded
  // files.
  ProcessTree(const SystemFiles& files, double ticks_per_second, Clock clock = nullptr);

  // Finds the members. A different root process starts a new tree and keeps the time counted so
  // far; 0 means that there is no root.
  void Scan(int root_pid);
  // Returns the seconds since the first reading; never falls. Skips members that ended since the
  // scan.
  double CpuSeconds();

 private:
  struct Member {
    uint64_t start_ticks = 0;
    // At the last reading.
    uint64_t own_nanos = 0;
    uint64_t reaped_nanos = 0;
    // Set once the times were read; only then is their growth known.
    bool seen = false;
  };

  // NOT_FOUND if the process has ended.
  absl::StatusOr<uint64_t> OwnNanos(const ProcessStat& stat) const;
  uint64_t NanosOf(uint64_t ticks) const;

  const SystemFiles& files_;
  const double ticks_per_second_;
  const Clock clock_;
  int root_ = 0;
  uint64_t root_start_ticks_ = 0;
  std::map<int, Member> members_;
  // Set once some member was read; a member that is found later has begun since.
  bool has_total_ = false;
  // Time of members that a scan found ended, which their parents' reaped time will contain.
  uint64_t ended_nanos_ = 0;
  // Time of ended members that no parent's reaped time has contained yet.
  uint64_t owed_nanos_ = 0;
  uint64_t counted_nanos_ = 0;
};

}  // namespace trunkline
