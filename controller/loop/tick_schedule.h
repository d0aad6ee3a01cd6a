// Decides when the control loop runs its stages: every interval, and soon after the set of
// endpoints or an address has changed, because clients may be waiting for exactly that change.
//
// Changes of about the same time share a tick: after a restart or a reload all agents announce
// themselves at once. Pure: the caller supplies the time. Externally synchronized.
#pragma once

#include <algorithm>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class TickSchedule {
 public:
  // A change waits this long for others.
  static constexpr absl::Duration kCoalescing = absl::Milliseconds(20);
  // The least time from a tick to the next one that a change causes. A tick of the largest cluster
  // takes some milliseconds, and each one may send a snapshot to every proxy.
  static constexpr absl::Duration kMinGap = absl::Milliseconds(50);

  // The first tick is due at `now`.
  TickSchedule(absl::Duration interval, MonotonicTime now) : interval_(interval), next_(now) {}

  // Applies from the next tick on.
  void SetInterval(absl::Duration interval) { interval_ = interval; }
  // The set of endpoints or an address changed.
  void OnChange(MonotonicTime now) {
    next_ = std::min(next_, std::max(now + kCoalescing, last_ + kMinGap));
  }
  // A tick is due at once.
  void OnUrgent(MonotonicTime now) { next_ = std::min(next_, now); }

  bool Due(MonotonicTime now) const { return now >= next_; }
  MonotonicTime next() const { return next_; }
  void OnTick(MonotonicTime now) {
    last_ = now;
    next_ = now + interval_;
  }

 private:
  absl::Duration interval_;
  MonotonicTime last_;
  MonotonicTime next_;
};

}  // namespace trunkline
