// Counters of each local service, written by trunk workers and read by samples and scrapes.
//
// Each pair of worker and service has counters on separate cache lines, so recording is a plain
// load and store. Readers sum over the workers. A sum is not a snapshot of one instant, which
// gauges and monotonic counters do not need. Thread-safe by the rule of common/base/metrics.h: each
// cell has one writer (its worker) and any readers. The table has a fixed size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "common/base/metrics.h"
#include "common/inband/inband_report.h"

namespace trunkline {

// Written by one trunk worker.
struct alignas(64) ServiceTraffic {
  ServiceTraffic() { reachable.Set(1); }

  Gauge active_streams;
  // Active streams that count as load; see common/net/flow_activity.h.
  Gauge load_streams;
  Counter streams_opened;
  // Streams whose two directions both finished.
  Counter successes;
  // Connects that the local server refused or did not answer in time.
  Counter errors_connect;
  // Established streams that the local server reset.
  Counter errors_reset;
  // From the trunk to the local server, and in the other direction.
  Counter bytes_from_proxy;
  Counter bytes_to_proxy;
  // 0 after a failed connect of this worker; 1 after a successful one and initially.
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
  // Becomes false if any worker's last connect failed.
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

  // Returns the load for in-band load reports. Called on any thread.
  ServerLoad Load(size_t service) const;
  // Sets the utilization, a share of 1, that Load returns; nullopt, as before the first call, if it
  // is unknown. Called on one thread.
  void SetUtilization(size_t service, std::optional<double> utilization);

  size_t workers() const { return workers_; }
  size_t services() const { return services_; }

 private:
  const size_t workers_;
  const size_t services_;
  const std::unique_ptr<ServiceTraffic[]> cells_;
  const std::unique_ptr<Gauge[]> utilizations_;  // thousandths
};

}  // namespace trunkline
