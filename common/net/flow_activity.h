// Decides whether an open connection counts as load or is idle.
//
// Clients keep connections that they do not use, such as pools, or devices between two readings.
// Counting them as in flight would make the server that holds most of them look busy although it
// has nothing to do. A connection counts as load from its beginning and whenever bytes pass, until
// it has been quiet for 1 s, or for 30 s if the last bytes went to the server, which may be working
// on a response.
//
// Pure: the owner has the timer. Externally synchronized.
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
  // Bytes passed. Returns true if the connection was idle and counts again; arm the timer with
  // Wait.
  bool OnBytes(MonotonicTime now, bool to_server) {
    last_ = now;
    awaits_answer_ = to_server;
    return !std::exchange(counts_, true);
  }
  // A sign of life without bytes: the silence starts over.
  void OnSign(MonotonicTime now) { last_ = now; }
  // The timer fired. Returns true if the connection stops counting as load.
  bool Settle(MonotonicTime now) {
    if (!counts_ || now - last_ < QuietAfter()) return false;
    counts_ = false;
    return true;
  }
  // Returns the delay for the timer. While the connection counts, it is at most 1 s, because a
  // response shortens the quiet period; otherwise it lasts until the connection has been idle for
  // `idle_timeout`. A delay of zero or less means that the idle timeout has passed.
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
