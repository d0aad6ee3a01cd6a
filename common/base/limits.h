// Limits on which several programs have to agree. Each bounds what one faulty or hostile peer can
// make another program keep.
#pragma once

#include <cstddef>

namespace trunkline {

// Services of one cluster.
inline constexpr size_t kMaxServices = 1000;
// Addresses on which one service listens.
inline constexpr size_t kMaxServiceListens = 16;
// Addresses on which all services of a cluster listen together. A proxy has a socket for each of
// them and each worker.
inline constexpr size_t kMaxClusterListens = 2000;
// Endpoints that one controller knows, over all services. Twice the fleet that it is built for
// (10,000 agents).
inline constexpr size_t kMaxClusterEndpoints = 20'000;
// Endpoints that a proxy takes for one service: more than a controller has, so that the
// controller's limit decides.
inline constexpr size_t kMaxServiceEndpoints = 100'000;
// Endpoints, and so services, of one agent.
inline constexpr size_t kMaxAgentEndpoints = 64;

static_assert(kMaxServiceEndpoints >= kMaxClusterEndpoints);

}  // namespace trunkline
