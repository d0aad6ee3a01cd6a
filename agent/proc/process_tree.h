// CPU time of a server with several processes: a root process and all its descendants.
//
// When a child ends, /proc loses it, but the kernel adds its time to the parent's reaped children.
// The sum of own and reaped time over the tree therefore only grows, unless a parent ignores its
// children; the sum then falls, and the growth of the survivors counts instead. Scan reads all of
// /proc and is called once per second; CpuSeconds reads the members only. Edge: reads through
// SystemFiles. Externally synchronized.
#pragma once

#include <cstdint>
#include <map>

#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {

class ProcessTree {
 public:
  // Limit of members. A service has a few hundred processes; the kernel's limit is 4 million.
  static constexpr size_t kMaxProcesses = 4096;

  // `files` outlives the tree. `ticks_per_second` is sysconf(_SC_CLK_TCK), except for recorded
  // files.
  ProcessTree(const SystemFiles& files, double ticks_per_second);

  // Finds the members. A different root process starts a new tree and keeps the time counted so
  // far; 0 means that there is no root.
  void Scan(int root_pid);
  // Returns the seconds since the first reading; never falls. Skips members that ended since the
  // scan.
  double CpuSeconds();

 private:
  struct Member {
    uint64_t start_ticks = 0;
    uint64_t own_ticks = 0;
    // Set once own_ticks was read; only then is its growth that of a survivor.
    bool seen = false;
  };

  const SystemFiles& files_;
  const double ticks_per_second_;
  int root_ = 0;
  uint64_t root_start_ticks_ = 0;
  std::map<int, Member> members_;
  bool has_total_ = false;
  uint64_t last_total_ticks_ = 0;
  uint64_t counted_ticks_ = 0;
};

}  // namespace trunkline
