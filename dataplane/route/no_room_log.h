// Logs that clients of one service in one worker wait for an endpoint or waited in vain, with the
// limit that stands in their way. Each kind of line is paced, because clients cause them at any
// rate.
//
// Confined to its worker's loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/clock.h"
#include "common/observe/log_pacer.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class NoRoomLog {
 public:
  using States = std::span<const std::unique_ptr<EndpointState>>;

  // Clients wait because endpoints, at least one, are full and no other can take them.
  void EndpointsAreFull(const EndpointSet& set, States states, MonotonicTime now);
  // A client waited for as long as it may. `max_connections`: of this worker to each endpoint; 0:
  // no limit.
  void WaitedInVain(const EndpointSet& set, States states, uint32_t max_connections,
                    MonotonicTime now);
  // A client is refused at once because `pending` clients, the most that may, wait already.
  void QueueIsFull(const EndpointSet& set, size_t pending, MonotonicTime now);

 private:
  LogPacer full_;
  LogPacer in_vain_;
  LogPacer queue_;
};

}  // namespace trunkline
