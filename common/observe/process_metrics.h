// What the process itself costs: CPU, memory, descriptors. A value that cannot be read (no
// descriptor is left to open /proc with) is left out of the scrape, since a zero would lie.
// Thread-safe.
#pragma once

#include "common/observe/metrics_page.h"

namespace trunkline {

void AddProcessMetrics(MetricsWriter& writer);

}  // namespace trunkline
