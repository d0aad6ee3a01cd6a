// Makes health checks from the configuration, and reads the password files that it names.
// Thread-safe: no state.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "dataplane/table/health_check.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// Returns the health check of `service`, or null if it has none. `codec` is that of its messages,
// or null; a check of Redis uses its credential. Returns INVALID_ARGUMENT with the field, the value
// and what was expected if an option is invalid or a file unusable, or the check is of a kind that
// this proxy does not know. May read a file, so it may block.
absl::StatusOr<std::shared_ptr<const HealthCheck>> MakeHealthCheck(
    const v1::Service& service, const std::shared_ptr<const Codec>& codec);

}  // namespace trunkline
