// Monotonic time as a value.
//
// Reports, timeouts and slow start age by this clock, so a step of the wall clock expires nothing.
// Pure code takes `now` as a parameter; only edges (event loops, threads, main) call
// MonotonicNow(). Values are nanoseconds since an arbitrary start, so only differences are
// meaningful.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/time/time.h"

namespace trunkline {

class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  static constexpr MonotonicTime FromNanos(int64_t nanos) { return MonotonicTime(nanos); }
  // Later than any time that the clock returns.
  static constexpr MonotonicTime Infinite() { return MonotonicTime(INT64_MAX); }

  constexpr int64_t nanos() const { return nanos_; }

  friend constexpr auto operator<=>(MonotonicTime, MonotonicTime) = default;
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return absl::Nanoseconds(a.nanos_ - b.nanos_);
  }
  // Saturates at Infinite().
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
