// What a scrape of the proxy shows, summed over workers and endpoints. Thread-safe: reads counters
// only.
#pragma once

#include "common/metrics_page.h"
#include "dataplane/memory_meter.h"
#include "dataplane/traffic_stats.h"

namespace trunkline {

void CollectTraffic(const TrafficStats& stats, MetricsWriter& writer);
void CollectMemory(const MemoryMeter& meter, const TrafficStats& stats, MetricsWriter& writer);

}  // namespace trunkline
