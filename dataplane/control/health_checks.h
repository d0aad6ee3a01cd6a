// Makes health checks from the configuration. Thread-safe: no state.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "dataplane/table/health_check.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// Returns the health check of `service`, or null if it has none. Returns INVALID_ARGUMENT with the
// field, the value and what was expected if an option is invalid, or the check is of a kind that
// this proxy does not know.
absl::StatusOr<std::shared_ptr<const HealthCheck>> MakeHealthCheck(const v1::Service& service);

}  // namespace trunkline
