#include "common/net/wake_pacer.h"

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

// If no flow ended for this long, the averages are outdated.
constexpr absl::Duration kOutdatedAfter = absl::Milliseconds(10);
constexpr double kMaxInterval = 1e9;

double Nanos(absl::Duration duration) {
  return static_cast<double>(absl::ToInt64Nanoseconds(duration));
}

}  // namespace

void WakePacer::OnFlowEnded(MonotonicTime now, absl::Duration life) {
  const double interval = std::min(Nanos(now - last_end_), kMaxInterval);
  last_end_ = now;
  mean_interval_ += (interval - mean_interval_) / kMemory;
  mean_life_ += (Nanos(std::min(life, kMaxLife)) - mean_life_) / kMemory;
}

absl::Duration WakePacer::Gap(MonotonicTime now) const {
  const double gap = std::min(mean_life_ / kLifeShare, Nanos(max_gap_));
  const bool few = gap <= mean_interval_ / kPassesPerFlow || Nanos(max_gap_) <= mean_interval_;
  if (few || now - last_end_ > kOutdatedAfter) return absl::ZeroDuration();
  return absl::Nanoseconds(static_cast<int64_t>(gap));
}

}  // namespace trunkline
