// Counts how flows end: for the worker by cause, and for the endpoint that carried the flow.
#pragma once

#include "dataplane/flow/flow.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

// `cell` is null if no endpoint carried the flow. `lacks_sockets` is true if this machine had no
// socket for a connection just now, so that no endpoint could be tried. Call it on the thread that
// writes both.
void CountFlowEnd(FlowEnd end, WorkerStats& stats, EndpointCell* cell, bool lacks_sockets);

}  // namespace trunkline
