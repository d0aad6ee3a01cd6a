#include "agent/sample/rate_window.h"

#include <algorithm>

#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"

namespace trunkline {

void RateWindow::Add(MonotonicTime now, double cumulative) {
  TRUNKLINE_CHECK(samples_.empty() || now >= samples_.back().at, "samples come in order of time");
  if (!samples_.empty() && cumulative < samples_.back().value) samples_.clear();
  samples_.push_back({now, cumulative});
  // Drops samples older than the one that the longest window starts at.
  while (samples_.size() > 2 && now - samples_[1].at >= kLongest) samples_.pop_front();
}

double RateWindow::PerSecond(absl::Duration window) const {
  if (samples_.size() < 2) return 0;
  const Sample& newest = samples_.back();
  const auto younger = std::partition_point(
      samples_.begin(), samples_.end(),
      [&](const Sample& sample) { return newest.at - sample.at >= std::min(window, kLongest); });
  const auto from = younger == samples_.begin() ? younger : younger - 1;
  const double seconds = absl::ToDoubleSeconds(newest.at - from->at);
  return seconds > 0 ? (newest.value - from->value) / seconds : 0;
}

}  // namespace trunkline
