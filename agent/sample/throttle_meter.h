// Derives from cumulative counters for which share of a window a CPU quota stopped a group.
//
// The kernel adds up the stopped time of each core, so a group with threads on several cores can be
// stopped for seconds per second. It also counts the quota periods in which the quota was used up.
// Either bounds the share of time, and the smaller one is returned: exact for a server that runs on
// one core at a time. Of several quotas on the path of a group, that which stopped it most counts.
// Pure; externally synchronized.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agent/sample/rate_window.h"
#include "common/base/clock.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {

class ThrottleMeter {
 public:
  // `levels` are the counters of each group with a quota, by its directory. A group that is no
  // longer among them is forgotten.
  void Add(MonotonicTime now, const std::map<std::string, CpuThrottling>& levels);

  // Returns a share from 0 to 1 over the last `window`, or nullopt if no group was read twice.
  std::optional<double> Share(absl::Duration window) const;

 private:
  struct Level {
    RateWindow periods;
    RateWindow throttled_periods;
    RateWindow throttled_seconds;
  };
  std::map<std::string, Level> levels_;
};

}  // namespace trunkline
