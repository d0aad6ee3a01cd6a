// What a server has in flight right now, as far as one worker can know.
//
// A worker sees its own flows at once and those of all others never; the server's agent sees all of
// them and says so on the trunk up to 20 times a second (common/inband/inband_report.h). So: the
// last word, and what the worker's own flows have changed since. That change is multiplied: every
// worker heard the same word, and the server that it praised gets flows from all of them before the
// next one. Without that they would herd.
//
// A word is not discounted while it grows old: an agent says what changes, so its silence says that
// nothing did. One that is not repeated in time is forgotten, and what is left are the worker's own
// flows, again multiplied, so that they can be compared with other servers' words.
//
// Pure. Externally synchronized.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {

// One server, seen by one worker.
class LoadEstimate {
 public:
  // Agents repeat themselves every two seconds.
  static constexpr absl::Duration kFreshFor = absl::Seconds(5);

  // Flows or requests of this worker that are load.
  void AddOwn(int32_t change) { own_ += change; }
  uint32_t own() const { return own_; }

  void OnReport(const ServerLoad& said, MonotonicTime now);
  void Forget() { known_ = false; }
  // True: it was forgotten just now.
  bool ForgetIfOld(MonotonicTime now);
  bool known() const { return known_; }
  MonotonicTime heard_at() const { return heard_at_; }
  // Known, and at its limit.
  bool busy() const;

  // `scale`: TrafficShare's.
  double InFlight(double scale) const {
    if (!known_) return own_ * scale;
    return std::max(0.0, said_.active + (static_cast<double>(own_) - own_then_) * scale);
  }

 private:
  uint32_t own_ = 0;
  uint32_t own_then_ = 0;  // when the word came
  bool known_ = false;
  ServerLoad said_;
  MonotonicTime heard_at_;
};

// How much more than one worker all together send to its servers: what the words say over what it
// has there itself, over the last words.
class TrafficShare {
 public:
  // A worker with next to no flows of its own learns nothing from them.
  static constexpr double kMaxScale = 100;

  void OnReport(uint32_t own, uint32_t all) {
    own_ += own - own_ * kForget;
    all_ += all - all_ * kForget;
  }
  // 1 where no word came.
  double scale() const { return std::clamp((all_ + 1) / (own_ + 1), 1.0, kMaxScale); }

 private:
  static constexpr double kForget = 1.0 / 64;
  double own_ = 0;
  double all_ = 0;
};

// Above which in-flight per weight a busy server is hot: the 0.84 quantile, which a sixth exceeds.
// Reorders `scores`; infinity where there are none.
double HotAbove(std::vector<double>& scores);

}  // namespace trunkline
