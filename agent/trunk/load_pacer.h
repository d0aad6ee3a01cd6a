// Decides when a load stream sends a report: a changed load at most every 50 ms per service, and an
// unchanged one every 2 s, so that the proxy knows that it is still valid.
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
  // Thousandths by which utilization must change to be reported: it is measured over half a second,
  // which is noisier than that.
  static constexpr uint32_t kMinChange = 10;

  explicit LoadPacer(size_t services) : sent_(services) {}

  // Returns true if `load` of the service should be sent now. Does not count as sending it.
  bool Due(size_t service, const ServerLoad& load, MonotonicTime now) const {
    const Sent& last = sent_[service];
    if (!last.ever) return true;
    const absl::Duration age = now - last.at;
    return age >= kRepeat || (age >= kGap && Changed(last.load, load));
  }
  void OnSent(size_t service, const ServerLoad& load, MonotonicTime now) {
    sent_[service] = {.ever = true, .load = load, .at = now};
  }

 private:
  struct Sent {
    bool ever = false;
    ServerLoad load;
    MonotonicTime at;
  };

  static bool Changed(const ServerLoad& was, const ServerLoad& is) {
    const bool became_known =
        (was.utilization == ServerLoad::kUnknown) != (is.utilization == ServerLoad::kUnknown);
    return was.active != is.active || became_known ||
           was.utilization + kMinChange <= is.utilization ||
           is.utilization + kMinChange <= was.utilization;
  }

  std::vector<Sent> sent_;
};

}  // namespace trunkline
