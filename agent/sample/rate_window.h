// Derives a rate from a cumulative counter that is sampled many times per second.
//
// The reader chooses the window: regular reports use one second, urgent ones half a second. Pure;
// externally synchronized.
#pragma once

#include <deque>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class RateWindow {
 public:
  // Longer windows are cut to this.
  static constexpr absl::Duration kLongest = absl::Seconds(10);

  // `now` must not be before the previous sample. A value below the previous one means that the
  // counter restarted, which clears the window.
  void Add(MonotonicTime now, double cumulative);

  // Returns the growth per second since the latest sample that is at least `window` old, else since
  // the oldest; 0 with fewer than two samples.
  double PerSecond(absl::Duration window) const;

  // Returns whether there are the two samples that a rate needs.
  bool has_rate() const { return samples_.size() >= 2; }

  void Reset() { samples_.clear(); }

 private:
  struct Sample {
    MonotonicTime at;
    double value;
  };
  std::deque<Sample> samples_;
};

}  // namespace trunkline
