// The controller's answers as text for people; --json has its own way. Pure: messages in, text out.
#pragma once

#include <string>

#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {

std::string Render(const v1::WeightTable& table);
std::string Render(const v1::ListEndpointsResponse& response);
std::string Render(const v1::ListServicesResponse& response);
std::string Render(const v1::ListProxiesResponse& response);
std::string Render(const v1::Explanation& explanation);
std::string Render(const v1::Snapshot& snapshot);
// "1795407794/12".
std::string Render(const v1::SnapshotId& id);

}  // namespace trunkline
