// Makes the traffic reports of a proxy for the controller from the counters of its workers.
// Confined to one thread; the workers may count meanwhile.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

class TrafficReporter {
 public:
  // `stats` outlives this.
  explicit TrafficReporter(const TrafficStats& stats)
      : stats_(stats), reported_at_(MonotonicNow()) {}

  // Returns the traffic since the last call, or since the construction.
  v1::TrafficReport Report();

 private:
  // Counter values at the last report.
  struct Reported {
    uint64_t flows = 0;
    uint64_t errors = 0;
    uint64_t connects = 0;
    uint64_t connect_nanos = 0;
  };

  const TrafficStats& stats_;
  absl::flat_hash_map<std::shared_ptr<EndpointStats>, Reported> reported_;
  MonotonicTime reported_at_;
};

}  // namespace trunkline
