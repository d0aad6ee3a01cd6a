// Bounds how often one kind of event is logged, for events that a peer can cause at any rate.
//
// The first event is logged at once, then at most one per interval; a line says how many were not
// logged before it. Pure. Externally synchronized.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class LogPacer {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(10);

  // Returns the end of this event's line, which counts the events that were not logged since the
  // last line (empty if there are none); or nothing if this event must not be logged.
  std::optional<std::string> Admit(MonotonicTime now) {
    if (now < next_) {
      ++suppressed_;
      return std::nullopt;
    }
    next_ = now + kInterval;
    const uint64_t before = std::exchange(suppressed_, 0);
    if (before == 0) return std::string();
    return absl::StrCat(" (", before, " more like this were not logged before)");
  }

 private:
  MonotonicTime next_;
  uint64_t suppressed_ = 0;
};

}  // namespace trunkline
