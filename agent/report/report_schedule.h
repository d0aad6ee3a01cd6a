// Decides when to send a load report: once per interval, jittered by a tenth so that agents started
// together drift apart, and at once when a service becomes hot or cools down, since one second is
// long for a server at its limit.
//
// A service becomes hot at a utilization of 0.90 and cools down at 0.80. This hysteresis keeps a
// utilization that oscillates around one threshold from triggering reports. Pure: the caller
// supplies time and randomness. Externally synchronized.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class ReportSchedule {
 public:
  static constexpr double kHotAbove = 0.90;
  static constexpr double kCoolBelow = 0.80;
  static_assert(kCoolBelow < kHotAbove);
  // The minimum time between two reports.
  static constexpr absl::Duration kMinGap = absl::Milliseconds(100);
  static constexpr double kJitter = 0.1;

  enum class Due { kNo, kInterval, kCrossing };

  explicit ReportSchedule(absl::Duration interval) : interval_(interval) {}

  // Returns whether and why a report is due, and counts it as sent; the first call is due.
  // `utilizations` has one value per service, always in the same order; `uniform` is in [0, 1).
  Due Check(MonotonicTime now, const std::vector<double>& utilizations, double uniform);

  // Applies from the next report on, which is due at `now` + `interval` at the latest.
  void SetInterval(MonotonicTime now, absl::Duration interval);
  absl::Duration interval() const { return interval_; }

 private:
  bool Crossed(const std::vector<double>& utilizations);

  absl::Duration interval_;
  std::vector<bool> hot_;
  // Set while a crossing waits for kMinGap since the last report.
  bool crossing_waits_ = false;
  bool started_ = false;
  MonotonicTime last_;
  MonotonicTime next_;
};

}  // namespace trunkline
