// Limits a log line about repeated events to one per ten seconds.
//
//   if (const uint64_t events = log.Due(now); events > 0) LogWarn("... ({} in all)", events);
//
// Confined to its owner.
#pragma once

#include <cstdint>
#include <utility>

#include "common/base/clock.h"

namespace trunkline {

class RareLog {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(10);

  // Counts an event. Returns the events since the last line if a line is due, else 0.
  uint64_t Due(MonotonicTime now) {
    ++events_;
    if (now < next_) return 0;
    next_ = now + kInterval;
    return std::exchange(events_, 0);
  }

 private:
  uint64_t events_ = 0;
  MonotonicTime next_;
};

}  // namespace trunkline
