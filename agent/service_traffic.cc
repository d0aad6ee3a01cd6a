#include "agent/service_traffic.h"

#include <algorithm>

namespace trunkline {

TrafficTable::TrafficTable(size_t workers, size_t services)
    : workers_(workers), services_(services), cells_(new ServiceTraffic[workers * services]) {}

ServiceTrafficTotals TrafficTable::Totals(size_t service) const {
  ServiceTrafficTotals sum;
  for (size_t worker = 0; worker < workers_; ++worker) {
    const ServiceTraffic& cell = cells_[worker * services_ + service];
    sum.active_streams += static_cast<uint64_t>(std::max<int64_t>(0, cell.active_streams.Value()));
    sum.streams_opened += cell.streams_opened.Value();
    sum.successes += cell.successes.Value();
    sum.errors_connect += cell.errors_connect.Value();
    sum.errors_reset += cell.errors_reset.Value();
    sum.bytes_from_proxy += cell.bytes_from_proxy.Value();
    sum.bytes_to_proxy += cell.bytes_to_proxy.Value();
    sum.reachable = sum.reachable && cell.reachable.Value() != 0;
    sum.connect_latency += cell.connect_latency.Read();
  }
  return sum;
}

}  // namespace trunkline
