// Formats the controller's responses as text for people. Pure. Thread-safe; keeps no state.
#pragma once

#include <string>

#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {

std::string Render(const v1::WeightTable& table);
std::string Render(const v1::ListEndpointsResponse& response);
std::string Render(const v1::ListServicesResponse& response);
std::string Render(const v1::ListProxiesResponse& response);
std::string Render(const v1::Explanation& explanation);
std::string Render(const v1::Snapshot& snapshot);
// Returns "EPOCH/VERSION", for example "1795407794/12".
std::string Render(const v1::SnapshotId& id);

// Return "fresh", "adaptive" and the like, and the number of a value that only a newer controller
// knows.
std::string StateText(v1::EndpointState state);
std::string PolicyText(v1::BalancingPolicy policy);

}  // namespace trunkline
