// Event coalescing: how long an event loop may sleep before a pass so that it finds more events.
//
// A pass has costs that do not depend on the number of events: the thread wakes, each shared
// connection is read and written once, and its other end wakes for what was written. A saturated
// loop shares these costs among many flows, and so do its servers; a loop that is not saturated
// wakes for almost every event and pays them for each. Network cards solve the same problem by
// interrupt moderation.
//
// The delay must stay unnoticed. A flow that lives for L, from accept to close, is processed about
// three times. With a delay of at most L/8, and half of that on average, L grows by a fifth, most
// of which the saved passes give back: waking a sleeping loop on another core costs CPU as well, in
// the servers and agents that the flow waits for. Where flows are short, as on an idle machine,
// there is no delay.
//
// A delay pays only where it brings at least one more event per pass: by Little's law, with three
// or more flows in flight at a time. Long-lived connections do not end, so they cause no delay,
// however busy; beside short flows they are delayed only where thousands of those end per second,
// at least one within the longest delay.
//
// Confined to its loop's thread. Pure: the caller passes the time.
#pragma once

#include "common/base/clock.h"

namespace trunkline {

class WakePacer {
 public:
  // The delay is at most 1/kLifeShare of a flow's life.
  static constexpr int kLifeShare = 8;
  // Passes that process a flow, from its accept to its end.
  static constexpr int kPassesPerFlow = 3;
  // Also the longest delay per pass of a long-lived connection beside very many short flows.
  static constexpr absl::Duration kMaxGap = absl::Microseconds(250);
  // The averages cover about this many flows.
  static constexpr int kMemory = 64;
  // A longer life counts as this one, so that one long flow does not dominate the average.
  static constexpr absl::Duration kMaxLife = absl::Milliseconds(20);

  explicit WakePacer(MonotonicTime now) : last_end_(now) {}

  // Zero disables the delay.
  void set_max_gap(absl::Duration most) { max_gap_ = most; }

  // A flow ended after `life`.
  void OnFlowEnded(MonotonicTime now, absl::Duration life);

  // The least time between the beginnings of two passes; zero for no delay.
  absl::Duration Gap(MonotonicTime now) const;

 private:
  absl::Duration max_gap_ = kMaxGap;
  MonotonicTime last_end_;
  // Nanoseconds, moving averages.
  double mean_life_ = 0;
  double mean_interval_ = 1e9;  // between ends
};

}  // namespace trunkline
