// Whether a connection is load right now, or only open.
//
// Clients keep connections that they do not use: pools, devices between two readings. To count them
// as in flight makes the server that holds most of them look busy, and a pick then avoids a server
// that has nothing to do. So a connection counts from its beginning and whenever bytes pass, until
// it has been quiet for a second, or for half a minute if the last bytes were for the server: then
// it may be working on its answer, or the protocol may have none.
//
// Values in, values out: the owner has the timer. Externally synchronized.
#pragma once

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class FlowActivity {
 public:
  static constexpr absl::Duration kQuietAfter = absl::Seconds(1);
  static constexpr absl::Duration kUnansweredFor = absl::Seconds(30);

  explicit FlowActivity(MonotonicTime now) : last_(now) {}

  bool counts() const { return counts_; }
  // Bytes passed. True: it was quiet and counts again; ask Wait for the timer anew.
  bool OnBytes(MonotonicTime now, bool to_server) {
    last_ = now;
    awaits_answer_ = to_server;
    return !std::exchange(counts_, true);
  }
  // Something happened that is no passing of bytes: the silence begins anew.
  void OnSign(MonotonicTime now) { last_ = now; }
  // The timer fired. True: it was counted and does not count any more.
  bool Settle(MonotonicTime now) {
    if (!counts_ || now - last_ < QuietAfter()) return false;
    counts_ = false;
    return true;
  }
  // How long the timer should sleep: while the connection counts, a second at most, because an
  // answer makes it quiet earlier; else until it has been idle for `idle_timeout`. Not above zero:
  // it has.
  absl::Duration Wait(MonotonicTime now, absl::Duration idle_timeout) const {
    const absl::Duration silence = now - last_;
    const absl::Duration until_idle = idle_timeout - silence;
    return counts_ ? std::min({until_idle, QuietAfter() - silence, kQuietAfter}) : until_idle;
  }

 private:
  absl::Duration QuietAfter() const { return awaits_answer_ ? kUnansweredFor : kQuietAfter; }

  MonotonicTime last_;
  bool counts_ = true;
  bool awaits_answer_ = false;
};

}  // namespace trunkline
