#include "agent/report/report_schedule.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "common/base/clock.h"

namespace trunkline {

bool ReportSchedule::Crossed(const std::vector<double>& utilizations) {
  hot_.resize(utilizations.size(), false);
  bool crossed = false;
  for (size_t i = 0; i < utilizations.size(); ++i) {
    const bool heats = !hot_[i] && utilizations[i] >= kHotAbove;
    const bool cools = hot_[i] && utilizations[i] <= kCoolBelow;
    if (!heats && !cools) continue;
    hot_[i] = heats;
    crossed = true;
  }
  return crossed;
}

ReportSchedule::Due ReportSchedule::Check(MonotonicTime now,
                                          const std::vector<double>& utilizations, double uniform) {
  crossing_waits_ = Crossed(utilizations) || crossing_waits_;
  Due due = Due::kNo;
  if (!started_ || now >= next_) {
    due = Due::kInterval;
  } else if (crossing_waits_ && now - last_ >= kMinGap) {
    due = Due::kCrossing;
  }
  if (due == Due::kNo) return due;
  started_ = true;
  crossing_waits_ = false;
  last_ = now;
  next_ = now + std::max(kMinGap, interval_ * (1 - kJitter + 2 * kJitter * uniform));
  return due;
}

void ReportSchedule::SetInterval(MonotonicTime now, absl::Duration interval) {
  interval_ = interval;
  next_ = std::min(next_, now + interval);
}

}  // namespace trunkline
