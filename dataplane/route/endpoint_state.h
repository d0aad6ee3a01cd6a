// One worker's view of one endpoint of a service, beside the controller's description of it. Flows
// point to the state of the endpoint that carries them, and keep it alive after the endpoint has
// left the service.
//
// Confined to its worker's loop; owned by its ServiceRouter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dataplane/route/carrier.h"
#include "dataplane/route/outlier_ejection.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

struct EndpointState {
  // Describes the endpoint by the service's newest set, or, after it left, by the last set that had
  // it.
  const Endpoint& endpoint() const { return (*set)->endpoints[index]; }
  bool departed() const { return set == &last_set; }

  const std::shared_ptr<const EndpointSet>* set = nullptr;  // its router's, or last_set
  std::shared_ptr<const EndpointSet> last_set;              // set when it departs
  size_t index = 0;                                         // in the set
  EndpointCell* cell = nullptr;
  // Null until the router has joined the endpoint, and after it departed.
  Carrier* carrier = nullptr;
  // Another endpoint of the service with the same carrier.
  EndpointState* next_of_carrier = nullptr;
  uint32_t active = 0;  // flows, or requests in message mode
  OutlierEjection::Record ejection;
  bool full = false;           // its carrier is full
  bool may_have_room = false;  // its carrier reported room; see ServiceRouter::ServePending
};

}  // namespace trunkline
