#include "agent/rate_window.h"

#include <algorithm>
#include <cassert>

namespace trunkline {

void RateWindow::Add(MonotonicTime now, double cumulative) {
  assert(samples_.empty() || now >= samples_.back().at);
  if (!samples_.empty() && cumulative < samples_.back().value) samples_.clear();
  samples_.push_back({now, cumulative});
  if (samples_.size() > kMaxSamples) samples_.pop_front();
}

double RateWindow::PerSecond(absl::Duration window) const {
  if (samples_.size() < 2) return 0;
  const Sample& newest = samples_.back();
  const Sample* from = &samples_.front();
  for (const Sample& sample : samples_) {
    if (newest.at - sample.at < window) break;
    from = &sample;
  }
  const double seconds = absl::ToDoubleSeconds(newest.at - from->at);
  return seconds > 0 ? (newest.value - from->value) / seconds : 0;
}

}  // namespace trunkline
