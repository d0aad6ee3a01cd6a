// When to send a load report: every interval, give or take a tenth so that agents started together
// drift apart, and at once when a service gets hot or cools down, because a second is long for a
// server at its limit.
//
// Hot is entered at 0.90 and left at 0.80: between them nothing happens, so a utilization that
// trembles at one threshold sends nothing. Pure: time and randomness are the caller's. Externally
// synchronized.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class ReportSchedule {
 public:
  static constexpr double kHotAbove = 0.90;
  static constexpr double kCoolBelow = 0.80;
  // Reports are this far apart at least, whatever happens.
  static constexpr absl::Duration kMinGap = absl::Milliseconds(100);
  static constexpr double kJitter = 0.1;

  enum class Due { kNo, kInterval, kCrossing };

  explicit ReportSchedule(absl::Duration interval) : interval_(interval) {}

  // Whether to send now; a yes counts as sent. `utilizations` are those of the services, always in
  // the same order and number; `uniform` in [0, 1). The first call is a yes.
  Due Check(MonotonicTime now, const std::vector<double>& utilizations, double uniform);

  // From the next report on, and at once if that would be later than now + interval.
  void SetInterval(MonotonicTime now, absl::Duration interval);
  absl::Duration interval() const { return interval_; }

 private:
  bool Crossed(const std::vector<double>& utilizations);

  absl::Duration interval_;
  std::vector<bool> hot_;
  // A crossing that came within kMinGap of the report before it waits here.
  bool crossing_waits_ = false;
  bool started_ = false;
  MonotonicTime last_;
  MonotonicTime next_;
};

}  // namespace trunkline
