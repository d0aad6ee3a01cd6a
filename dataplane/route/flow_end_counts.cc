#include "dataplane/route/flow_end_counts.h"

#include "dataplane/flow/flow_end.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

void CountFlowEnd(FlowEnd end, WorkerStats& stats, EndpointCell* cell, bool lacks_sockets) {
  switch (end) {
    case FlowEnd::kClean:
      return;
    case FlowEnd::kClientReset:
      stats.client_reset.Add();
      return;
    case FlowEnd::kServerReset:
      stats.server_reset.Add();
      if (cell != nullptr) cell->resets.Add();
      return;
    case FlowEnd::kConnectionLost:
      stats.connection_lost.Add();
      if (cell != nullptr) cell->trunk_losses.Add();
      return;
    case FlowEnd::kTrunkLost:
      stats.trunk_lost.Add();
      if (cell != nullptr) cell->trunk_losses.Add();
      return;
    case FlowEnd::kRefused:
      stats.connect_refused.Add();
      return;
    case FlowEnd::kNoEndpoint:
      (lacks_sockets ? stats.no_socket : stats.no_endpoint).Add();
      return;
    case FlowEnd::kTimeout:
      stats.timeouts.Add();
      return;
    case FlowEnd::kShutdown:
      stats.shutdowns.Add();
      return;
    case FlowEnd::kBadRequest:
      stats.bad_requests.Add();
      return;
    case FlowEnd::kSlowReader:
      stats.slow_readers.Add();
      return;
    case FlowEnd::kSourceLimit:
      stats.source_limited.Add();
      return;
    case FlowEnd::kBadHeader:
      stats.bad_headers.Add();
      return;
    case FlowEnd::kMemory:
      stats.shed.Add();
      return;
    case FlowEnd::kUnwatchable:
      stats.no_socket.Add();
      return;
  }
}

}  // namespace trunkline
