// Metrics of the process: CPU, memory and descriptors. A value that cannot be read, for example for
// lack of a descriptor to open /proc, is omitted, since a zero would be wrong. Thread-safe.
#pragma once

#include "common/observe/metrics_page.h"

namespace trunkline {

void AddProcessMetrics(MetricsWriter& writer);

}  // namespace trunkline
