// A rate out of a counter: what a cumulative number grew by, over the last while.
//
// Samples come every 100 ms; the question is asked over a second for a regular report and over half
// a second when something just crossed a threshold, so the window is the reader's choice. Pure;
// externally synchronized.
#pragma once

#include <cstddef>
#include <deque>

#include "absl/time/time.h"
#include "common/clock.h"

namespace trunkline {

class RateWindow {
 public:
  // Ten seconds of samples at ten a second, and one to reach back to.
  static constexpr size_t kMaxSamples = 102;

  // `now` is not before the last one. A value below the last one means that the counter began
  // again: so does the window.
  void Add(MonotonicTime now, double cumulative);

  // Growth a second since the latest sample that is at least `window` old, else since the oldest; 0
  // with fewer than two.
  double PerSecond(absl::Duration window) const;

  void Reset() { samples_.clear(); }

 private:
  struct Sample {
    MonotonicTime at;
    double value;
  };
  std::deque<Sample> samples_;
};

}  // namespace trunkline
