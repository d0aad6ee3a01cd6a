// Estimates the load in flight at a server, as far as one worker can know.
//
// A worker knows its own flows at once and never sees those of other workers. The server's agent
// sees all of them and sends in-band load reports on the trunk, up to 20 per second
// (common/inband/inband_report.h). The estimate is the last report plus the change of the worker's
// own flows since. That change is multiplied: all workers got the same report, and all send flows
// to the server that it shows as lightly loaded. Without the factor they would herd.
//
// A report does not lose weight with age: an agent reports changes, so silence means that nothing
// changed. A report that is not repeated in time is dropped, which leaves the worker's own flows,
// multiplied too, so that they compare with other servers' reports.
//
// Pure. Externally synchronized.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {

// One server, seen by one worker.
class LoadEstimate {
 public:
  // Agents repeat a report every two seconds.
  static constexpr absl::Duration kFreshFor = absl::Seconds(5);

  // Counts flows or requests of this worker that are load.
  void AddOwn(int32_t change) { own_ += change; }
  uint32_t own() const { return own_; }

  void OnReport(const ServerLoad& report, MonotonicTime now);
  void Forget() { known_ = false; }
  // Returns true if the report was dropped by this call.
  bool ForgetIfOld(MonotonicTime now);
  bool known() const { return known_; }
  MonotonicTime heard_at() const { return heard_at_; }

  // `scale` is TrafficShare::scale().
  double InFlight(double scale) const {
    if (!known_) return own_ * scale;
    return std::max(0.0, report_.active + (static_cast<double>(own_) - own_at_report_) * scale);
  }

 private:
  uint32_t own_ = 0;
  uint32_t own_at_report_ = 0;  // when the report came
  bool known_ = false;
  ServerLoad report_;
  MonotonicTime heard_at_;
};

// Estimates the load that all workers together send, relative to this one: the sum of the load in
// the last reports over this worker's own load at the same servers.
class TrafficShare {
 public:
  // Bounds the factor, because a worker with few flows of its own learns little from them.
  static constexpr double kMaxScale = 100;

  void OnReport(uint32_t own, uint32_t all) {
    own_ += own - own_ * kForget;
    all_ += all - all_ * kForget;
  }
  // Returns 1 before the first report.
  double scale() const { return std::clamp((all_ + 1) / (own_ + 1), 1.0, kMaxScale); }

 private:
  static constexpr double kForget = 1.0 / 64;
  double own_ = 0;
  double all_ = 0;
};

}  // namespace trunkline
