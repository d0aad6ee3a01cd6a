// Decides whether new streams would fare better on another trunk than on this one.
//
// One TCP connection has head-of-line blocking: streams wait behind unsent bytes, lost segments and
// bulk transfers in either direction. The sender knows of unsent bytes at once. Losses and bulk are
// measured ten times per second from the socket's counters and remembered for 1 s, so that picks do
// not oscillate.
//
// Pure. Externally synchronized.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class TrunkCongestion {
 public:
  // From best to worst. kBlocked: a standing send backlog, or retransmits.
  enum class Level { kNone, kBulk, kBlocked };

  // A burst is not congestion.
  static constexpr absl::Duration kBehindFor = absl::Milliseconds(50);
  // A measurement costs a system call.
  static constexpr absl::Duration kMeasureInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kRemembered = absl::Seconds(1);
  // In both directions. Small messages of many clients reach this rate only on a trunk that should
  // be split as well.
  static constexpr double kBulkBytesPerSecond = 80e6;
  // The share of segments resent: more than a healthy network loses.
  static constexpr double kLossyShare = 0.02;
  static constexpr uint64_t kLossyAtLeast = 3;

  // Since the beginning of the connection.
  struct Totals {
    uint64_t bytes = 0;     // both directions
    uint64_t segments = 0;  // sent; an estimate
    uint64_t resent = 0;
  };

  // More output was ready than the kernel took; the kernel took all of it.
  void OnBehind(MonotonicTime now) {
    if (now < behind_since_) behind_since_ = now;
  }
  void OnCaughtUp() { behind_since_ = MonotonicTime::Infinite(); }

  bool MeasurementDue(MonotonicTime now) const { return now >= measured_at_ + kMeasureInterval; }
  void Measure(MonotonicTime now, const Totals& totals);

  Level level(MonotonicTime now) const;

 private:
  MonotonicTime behind_since_ = MonotonicTime::Infinite();
  MonotonicTime measured_at_;
  Totals last_;
  MonotonicTime lossy_until_;
  MonotonicTime bulk_until_;
};

}  // namespace trunkline
