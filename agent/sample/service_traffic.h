// What trunk workers count of each local service, and what samples and scrapes read.
//
// A worker must not pay for being observed: every (worker, service) has counters of its own on
// cache lines of its own, so recording is a plain load and store. Readers sum over the workers; a
// sum is not a snapshot of one instant, and does not need to be: every value is either a gauge of
// now or grows only. Thread-safe by the rule of common/base/metrics.h: one writer a cell (its
// worker), any readers. The table is sized once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/base/metrics.h"
#include "common/inband/inband_report.h"

namespace trunkline {

// One writer thread (a trunk worker) each; summed by the sampler and at scrape.
struct alignas(64) ServiceTraffic {
  ServiceTraffic() { reachable.Set(1); }

  Gauge active_streams;
  // Those that are load; see common/net/flow_activity.h.
  Gauge load_streams;
  Counter streams_opened;
  // Streams that ended well: both directions finished.
  Counter successes;
  // The local server refused or did not answer in time.
  Counter errors_connect;
  // The local server broke a stream that it had taken.
  Counter errors_reset;
  // From the trunk to the local server, and back.
  Counter bytes_from_proxy;
  Counter bytes_to_proxy;
  // 0 after a failed connect of this worker, 1 after its next good one and before the first.
  Gauge reachable;
  LatencyHistogram connect_latency;
};

// The sum over all workers of one service.
struct ServiceTrafficTotals {
  uint64_t active_streams = 0;
  uint64_t load_streams = 0;
  uint64_t streams_opened = 0;
  uint64_t successes = 0;
  uint64_t errors_connect = 0;
  uint64_t errors_reset = 0;
  uint64_t bytes_from_proxy = 0;
  uint64_t bytes_to_proxy = 0;
  // No worker's last connect failed.
  bool reachable = true;
  LatencyHistogram::Values connect_latency;
};

class TrafficTable {
 public:
  // Services are numbered in the order of the configuration.
  TrafficTable(size_t workers, size_t services);

  // worker < workers(), service < services().
  ServiceTraffic& At(size_t worker, size_t service) { return cells_[worker * services_ + service]; }
  ServiceTrafficTotals Totals(size_t service) const;

  // What trunks say of the service. Any thread.
  ServerLoad Load(size_t service) const;
  // Of 1; what Load says until the next one. One thread.
  void SetUtilization(size_t service, double utilization);

  size_t workers() const { return workers_; }
  size_t services() const { return services_; }

 private:
  const size_t workers_;
  const size_t services_;
  const std::unique_ptr<ServiceTraffic[]> cells_;
  const std::unique_ptr<Gauge[]> utilizations_;  // thousandths
};

}  // namespace trunkline
