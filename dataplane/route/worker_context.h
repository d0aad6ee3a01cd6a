// The parts of a worker that its routers and flows use. All outlive them and are confined to the
// worker's loop.
#pragma once

#include <cstddef>

#include "common/net/event_loop.h"
#include "dataplane/flow/lingering_closes.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/log/connection_log.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

struct WorkerContext {
  EventLoop& loop;
  WorkerStats& stats;
  Dialer& dialer;
  LingeringCloses& lingering_closes;
  size_t index = 0;                         // of the worker in its proxy
  size_t workers = 1;                       // of the proxy
  size_t max_pipes = kAnyPipes;             // of the worker's flows together
  ConnectionLog* connection_log = nullptr;  // of the proxy; null if it is off
};

}  // namespace trunkline
