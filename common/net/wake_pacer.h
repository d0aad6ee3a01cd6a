// How long an event loop may leave what has come in alone, so that it finds more at once.
//
// A pass of a loop has costs that do not depend on how much it does: the thread wakes, each shared
// connection is read once and written once, and the other end wakes for what was written. A loop
// that is not saturated wakes for almost every event, and pays them for each; a saturated one pays
// them for many flows together, and so do its servers. Network cards solve the same by interrupt
// moderation.
//
// The wait must not be felt. A flow that lives for L, from accept to close, is looked at about
// three times; where no look is later than L/8, and half of that on average, its life grows by a
// fifth, of which the passes that are saved give back more: who wakes a sleeping loop on another
// core pays for that as well, and those are the servers and agents that the flow waits for. Where
// flows live shortly, as on an idle machine, nothing waits. A wait is worth its while only where it
// brings at least one more look a pass: by Little's law where three flows or more are under way at
// a time. Flows that are kept, however busy, do not end, and make nothing wait; beside others they
// wait only where thousands of those end a second, one within the longest gap.
//
// Confined to its loop's thread. Pure: time comes in.
#pragma once

#include "common/base/clock.h"

namespace trunkline {

class WakePacer {
 public:
  // Of a flow's life.
  static constexpr int kLifeShare = 8;
  // At a flow, from its accept to its end.
  static constexpr int kLooks = 3;
  // Also the most that a flow that is kept waits beside very many that end, for each look.
  static constexpr absl::Duration kMaxGap = absl::Microseconds(250);
  // Means follow the last so many flows.
  static constexpr int kMemory = 64;
  // One flow that lived longer than this counts as this, so that it does not speak for many.
  static constexpr absl::Duration kMaxLife = absl::Milliseconds(20);

  explicit WakePacer(MonotonicTime now) : last_end_(now) {}

  // Zero: no gaps.
  void set_max_gap(absl::Duration most) { max_gap_ = most; }

  // A flow ended after `life`.
  void OnFlowEnded(MonotonicTime now, absl::Duration life);

  // The time from the beginning of a pass to that of the next one, if there is less to do; zero:
  // none.
  absl::Duration Gap(MonotonicTime now) const;

 private:
  absl::Duration max_gap_ = kMaxGap;
  MonotonicTime last_end_;
  // Nanoseconds, moving averages.
  double mean_life_ = 0;
  double mean_interval_ = 1e9;  // between ends
};

}  // namespace trunkline
