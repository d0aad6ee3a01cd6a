// A rate out of a counter: what a cumulative number grew by, over the last while.
//
// Samples come many times a second; the question is asked over a second for a regular report and
// over half a second for what is urgent, so the window is the reader's choice. Pure; externally
// synchronized.
#pragma once

#include <deque>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class RateWindow {
 public:
  // Longer windows get this one.
  static constexpr absl::Duration kLongest = absl::Seconds(10);

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
