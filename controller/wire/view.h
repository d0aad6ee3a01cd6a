// What the control loop sees, to the answers that people and programs get: weights, endpoints,
// explanations.
//
// A weight that nobody can explain is a weight that nobody trusts: every term of docs/weights.md is
// in an explanation, in the order in which it is computed. Thread-safe: no state. NOT_FOUND names
// what exists.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "controller/core/control_core.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {

// Empty `service`: all.
absl::StatusOr<v1::WeightTable> WriteWeightTable(const ControllerView& view,
                                                 const std::string& service);
absl::StatusOr<v1::ListEndpointsResponse> WriteEndpoints(const ControllerView& view,
                                                         const std::string& service);
v1::ListServicesResponse WriteServices(const ControllerView& view);
absl::StatusOr<v1::Explanation> WriteExplanation(const ControllerView& view,
                                                 const EndpointKey& key);
// "fresh", for metrics labels and tables.
const char* StateName(EndpointCondition state);

}  // namespace trunkline
