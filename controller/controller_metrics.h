// The controller's numbers for Prometheus, read from the newest view at scrape time: an endpoint
// that is gone has no series. Thread-safe; borrows the loop and the table, which outlive the page's
// collectors.
#pragma once

#include "common/observe/metrics_page.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"

namespace trunkline {

// Endpoints with series of their own, five or so each: a scrape stays below 2,000 series however
// large the fleet.
constexpr size_t kMaxEndpointSeries = 250;

void CollectControllerMetrics(ControlLoop& loop, ProxyTable& proxies, MetricsWriter& writer);

}  // namespace trunkline
