// Monotonic time as a value.
//
// Everything that ages (reports, timeouts, ramps) uses this clock, so a step of the wall clock
// expires nothing. Pure code takes `now` as a parameter; MonotonicNow() is called by edges only
// (event loops, threads, main). The tick is nanoseconds since an arbitrary start; only differences
// mean anything.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/time/time.h"

namespace trunkline {

class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  static constexpr MonotonicTime FromNanos(int64_t nanos) { return MonotonicTime(nanos); }
  // Later than any time that a clock returns.
  static constexpr MonotonicTime Infinite() { return MonotonicTime(INT64_MAX); }

  constexpr int64_t nanos() const { return nanos_; }

  friend constexpr auto operator<=>(MonotonicTime, MonotonicTime) = default;
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return absl::Nanoseconds(a.nanos_ - b.nanos_);
  }
  // A wait too long to count ends at Infinite().
  friend MonotonicTime operator+(MonotonicTime t, absl::Duration d) {
    int64_t sum = 0;
    const bool overflow = __builtin_add_overflow(t.nanos_, absl::ToInt64Nanoseconds(d), &sum);
    return overflow ? Infinite() : MonotonicTime(sum);
  }
  friend MonotonicTime operator-(MonotonicTime t, absl::Duration d) {
    return MonotonicTime(t.nanos_ - absl::ToInt64Nanoseconds(d));
  }

 private:
  explicit constexpr MonotonicTime(int64_t nanos) : nanos_(nanos) {}
  int64_t nanos_ = 0;
};

MonotonicTime MonotonicNow();

}  // namespace trunkline
