#include "agent/sample/throttle_meter.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {

void ThrottleMeter::Add(MonotonicTime now, const std::map<std::string, CpuThrottling>& levels) {
  std::erase_if(levels_, [&](const auto& level) { return !levels.contains(level.first); });
  for (const auto& [directory, counters] : levels) {
    Level& level = levels_[directory];
    level.periods.Add(now, counters.periods);
    level.throttled_periods.Add(now, counters.throttled_periods);
    level.throttled_seconds.Add(now, counters.throttled_seconds);
  }
}

std::optional<double> ThrottleMeter::Share(absl::Duration window) const {
  std::optional<double> largest;
  for (const auto& [directory, level] : levels_) {
    if (!level.throttled_seconds.has_rate()) continue;
    double share = std::min(1.0, level.throttled_seconds.PerSecond(window));
    // An idle group has no periods.
    if (const double periods = level.periods.PerSecond(window); periods > 0) {
      share = std::min(share, level.throttled_periods.PerSecond(window) / periods);
    }
    largest = std::max(largest.value_or(0), share);
  }
  return largest;
}

}  // namespace trunkline
