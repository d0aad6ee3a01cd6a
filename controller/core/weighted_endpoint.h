// An endpoint as the load model and the weight policy get it.
#pragma once

#include <optional>

#include "controller/core/endpoint_registry.h"
#include "controller/core/traffic_window.h"

namespace trunkline {

struct WeightedEndpoint {
  const RegisteredEndpoint* endpoint;
  double weight;  // the published one
  // The traffic that all proxies together see at it; unset if no proxy carries the service's
  // traffic.
  std::optional<EndpointTraffic> traffic = std::nullopt;
};

}  // namespace trunkline
