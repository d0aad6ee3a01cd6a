// Makes the proxy's traffic reports: what its counters have gained since the previous report.
//
// A report omits endpoints without news, which may be nearly all of thousands. With news of all
// endpoints and the longest names it stays below kMaxClientMessageBytes.
//
// Externally synchronized.
#pragma once

#include <memory>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

class TrafficReporter {
 public:
  // `stats` outlives the reporter.
  explicit TrafficReporter(const TrafficStats& stats) : stats_(stats) {}

  // The caller fills in the missing listeners and refused services.
  v1::TrafficReport Make();

 private:
  // Counter values at the last report.
  struct Reported {
    uint64_t flows = 0;
    uint64_t errors = 0;
    uint64_t connects = 0;
    uint64_t connect_nanos = 0;
    uint64_t answered = 0;
    uint64_t first_byte_nanos = 0;
    uint64_t one_way = 0;
    uint64_t unanswered = 0;
    uint64_t bytes = 0;
  };

  const TrafficStats& stats_;
  absl::flat_hash_map<std::shared_ptr<EndpointStats>, Reported> reported_;
  MonotonicTime reported_at_ = MonotonicNow();
};

}  // namespace trunkline
