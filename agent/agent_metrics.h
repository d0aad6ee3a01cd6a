// The agent's metric families, except those of the trunk port, which TrunkServer collects.
// Thread-safe: reads values and counters.
#pragma once

#include <vector>

#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

// `services` are the columns of `traffic`, in their order.
void CollectAgentMetrics(const std::vector<LocalService>& services, const TrafficTable& traffic,
                         const SamplingLoop& loop, const LoadReporter& reporter,
                         MetricsWriter& writer);

}  // namespace trunkline
