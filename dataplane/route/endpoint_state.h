// What one worker knows of one endpoint of a service right now, beside what the controller says of
// it. Flows point to the state of the endpoint that carries them, and keep it alive after the
// endpoint left the service.
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
  // As the service's newest set describes it; after it left, as the last set that had it did.
  const Endpoint& endpoint() const { return (*set)->endpoints[index]; }
  bool departed() const { return set == &last_set; }

  const std::shared_ptr<const EndpointSet>* set = nullptr;  // its router's, or last_set
  std::shared_ptr<const EndpointSet> last_set;              // set when it departs
  size_t index = 0;                                         // in the set
  EndpointCell* cell = nullptr;
  // Null until the router has joined it, and after it departed.
  Carrier* carrier = nullptr;
  EndpointState* next_of_carrier = nullptr;  // another endpoint of the service with that carrier
  uint32_t active = 0;                       // flows, or requests in message mode
  OutlierEjection::Record ejection;
  bool may_have_room = false;  // its carrier said so; see ServiceRouter::ServePending
};

}  // namespace trunkline
