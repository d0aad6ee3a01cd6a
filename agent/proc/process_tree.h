// CPU time of a server that is several processes: the one that was named and all its children.
//
// Children come and go. A child that ends is gone from /proc, but its time moves into its parent's
// count of reaped children, so the sum over the tree of (own + reaped) only grows; where a parent
// ignores its children that sum falls, and then the growth of the survivors is what is known.
// Finding the tree means a scan of /proc (once a second); reading it does not. Edge: reads through
// SystemFiles. Externally synchronized.
#pragma once

#include <cstdint>
#include <map>

#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {

class ProcessTree {
 public:
  // The kernel's own limit is 4 million; a service has a few hundred. More are not counted.
  static constexpr size_t kMaxProcesses = 4096;

  // `files` outlives the tree. `ticks_per_second` is sysconf(_SC_CLK_TCK) unless a recorded tree
  // says otherwise.
  ProcessTree(const SystemFiles& files, double ticks_per_second);

  // Finds the members. A root that is another process than before (0: none) begins a new tree; time
  // counted so far stays.
  void Scan(int root_pid);
  // Seconds since the first reading; never falls. Members that ended since the scan are skipped.
  double CpuSeconds();

 private:
  struct Member {
    uint64_t start_ticks = 0;
    uint64_t own_ticks = 0;
    // False until read once: its whole time is new, but not the survivors' growth.
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
