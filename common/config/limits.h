// Limits that more than one program has to agree on.
#pragma once

#include <cstddef>

namespace trunkline {

// Endpoints that a controller knows, over all services; also the most that a proxy takes of one
// service. Twice the fleet that one controller is built for (10,000 agents).
inline constexpr size_t kMaxEndpoints = 20'000;
// Services of one cluster.
inline constexpr size_t kMaxServices = 1000;
// Endpoints, and so services, of one agent.
inline constexpr size_t kMaxEndpointsPerAgent = 64;

}  // namespace trunkline
