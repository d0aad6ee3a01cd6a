// Whether streams that begin now are better off on another trunk than on this one.
//
// On one TCP connection everybody waits for whoever is before him: for bytes that the kernel does
// not take, for segments that were lost, for somebody's bulk in either direction. Of the first the
// sender knows at once; losses and bulk are found by looking at the socket's counters ten times a
// second, and are remembered for a second, so that a choice does not swing.
//
// Values in, values out. Externally synchronized.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class TrunkCongestion {
 public:
  // In the order of what is worse.
  enum class Level { kNone, kBulk, kHeldUp };

  // A burst is not congestion.
  static constexpr absl::Duration kBehindFor = absl::Milliseconds(50);
  // Looking costs a system call.
  static constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kRemembered = absl::Seconds(1);
  // Both directions. Small messages of many clients make as much only on a trunk that is worth to
  // be halved as well.
  static constexpr double kBulkBytesPerSecond = 80e6;
  // Of the segments sent: more than a network loses that is in order.
  static constexpr double kLossyShare = 0.02;
  static constexpr uint64_t kLossyAtLeast = 3;

  // Counted from the beginning of the connection.
  struct Totals {
    uint64_t bytes = 0;     // both directions
    uint64_t segments = 0;  // sent; an estimate is good enough
    uint64_t resent = 0;
  };

  // More was ready than the kernel took; all was taken.
  void OnBehind(MonotonicTime now) {
    if (now < behind_since_) behind_since_ = now;
  }
  void OnCaughtUp() { behind_since_ = MonotonicTime::Infinite(); }

  bool LookDue(MonotonicTime now) const { return now >= looked_at_ + kLookInterval; }
  void Look(MonotonicTime now, const Totals& totals);

  Level level(MonotonicTime now) const;

 private:
  MonotonicTime behind_since_ = MonotonicTime::Infinite();
  MonotonicTime looked_at_;
  Totals last_;
  MonotonicTime lossy_until_;
  MonotonicTime bulk_until_;
};

}  // namespace trunkline
