// Converts a view of the control loop to responses: weights, endpoints, services, explanations.
//
// An explanation contains every term of docs/weights.md in the order of the computation, because
// operators do not trust a weight that they cannot derive. An unknown service or endpoint is
// NOT_FOUND; the error names the known ones. Thread-safe; keeps no state.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/core/control_core.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {

// Returns NOT_FOUND with the known services for an unknown name.
absl::Status CheckService(const ControllerView& view, const std::string& service);
// An empty `service` selects all services.
absl::StatusOr<v1::WeightTable> WriteWeightTable(const ControllerView& view,
                                                 const std::string& service);
// Returns one page. A page token that no response had is INVALID_ARGUMENT.
absl::StatusOr<v1::ListEndpointsResponse> WriteEndpoints(const ControllerView& view,
                                                         const v1::ListEndpointsRequest& request);
v1::ListServicesResponse WriteServices(const ControllerView& view);
absl::StatusOr<v1::Explanation> WriteExplanation(const ControllerView& view,
                                                 const EndpointKey& key);
// Returns "fresh" and the like, for metric labels.
const char* StateName(EndpointCondition state);

}  // namespace trunkline
