#include "agent/sample/service_traffic.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/metrics.h"
#include "common/inband/inband_report.h"

namespace trunkline {

TrafficTable::TrafficTable(size_t workers, size_t services)
    : workers_(workers),
      services_(services),
      cells_(new ServiceTraffic[workers * services]),
      utilizations_(new Gauge[services]) {
  for (size_t i = 0; i < services; ++i) utilizations_[i].Set(ServerLoad::kUnknown);
}

ServerLoad TrafficTable::Load(size_t service) const {
  int64_t active = 0;
  for (size_t worker = 0; worker < workers_; ++worker) {
    active += cells_[worker * services_ + service].load_streams.Value();
  }
  // Clamped, since a sum over workers is not a snapshot of one instant.
  return {.active = static_cast<uint32_t>(std::clamp<int64_t>(active, 0, UINT32_MAX)),
          .utilization = static_cast<uint32_t>(utilizations_[service].Value())};
}

void TrafficTable::SetUtilization(size_t service, std::optional<double> utilization) {
  if (!utilization.has_value()) return utilizations_[service].Set(ServerLoad::kUnknown);
  constexpr double kMost = ServerLoad::kMaxUtilization;
  const double thousandths = std::clamp(*utilization * 1000, 0.0, kMost);
  utilizations_[service].Set(std::lround(thousandths));
}

ServiceTrafficTotals TrafficTable::Totals(size_t service) const {
  ServiceTrafficTotals sum;
  for (size_t worker = 0; worker < workers_; ++worker) {
    const ServiceTraffic& cell = cells_[worker * services_ + service];
    sum.active_streams += static_cast<uint64_t>(std::max<int64_t>(0, cell.active_streams.Value()));
    sum.load_streams += static_cast<uint64_t>(std::max<int64_t>(0, cell.load_streams.Value()));
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
