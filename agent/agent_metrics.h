// The agent's families on /metrics (the trunk port writes its own). Thread-safe: reads values and
// counters.
#pragma once

#include <string>
#include <vector>

#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/service_traffic.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

// `services` are the names of the table's columns.
void CollectAgentMetrics(const std::vector<std::string>& services, const TrafficTable& traffic,
                         const SamplingLoop& loop, const LoadReporter& reporter,
                         MetricsWriter& writer);

}  // namespace trunkline
