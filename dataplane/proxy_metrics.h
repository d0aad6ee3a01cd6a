// The proxy's metrics, summed over workers and endpoints. Thread-safe: reads counters only.
#pragma once

#include "common/observe/metrics_page.h"
#include "dataplane/memory/memory_meter.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

void CollectTraffic(const TrafficStats& stats, MetricsWriter& writer);
void CollectMemory(const MemoryMeter& meter, const TrafficStats& stats, MetricsWriter& writer);

}  // namespace trunkline
