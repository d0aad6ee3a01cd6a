// When a load stream says something: what changed, at most every 50 ms a service, and every 2 s
// what did not, so that the other end knows that it is still so.
//
// Pure. Externally synchronized.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {

class LoadPacer {
 public:
  static constexpr absl::Duration kGap = absl::Milliseconds(kInbandReportGapMillis);
  static constexpr absl::Duration kRepeat = absl::Milliseconds(kInbandReportRepeatMillis);
  // Thousandths of utilization that are no news: measured over half a second, it trembles more.
  static constexpr uint32_t kNoNews = 10;

  explicit LoadPacer(size_t services) : said_(services) {}

  // Whether `load` of the service should be said now; nothing counts as said by asking.
  bool Due(size_t service, const ServerLoad& load, MonotonicTime now) const {
    const Said& last = said_[service];
    if (!last.ever) return true;
    const absl::Duration age = now - last.at;
    return age >= kRepeat || (age >= kGap && IsNews(last.load, load));
  }
  void Say(size_t service, const ServerLoad& load, MonotonicTime now) {
    said_[service] = {.ever = true, .load = load, .at = now};
  }

 private:
  struct Said {
    bool ever = false;
    ServerLoad load;
    MonotonicTime at;
  };

  static bool IsNews(const ServerLoad& was, const ServerLoad& is) {
    const bool became_known =
        (was.utilization == ServerLoad::kUnknown) != (is.utilization == ServerLoad::kUnknown);
    return was.active != is.active || became_known || was.utilization + kNoNews <= is.utilization ||
           is.utilization + kNoNews <= was.utilization;
  }

  std::vector<Said> said_;
};

}  // namespace trunkline
