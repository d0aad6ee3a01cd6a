// Validates the options of a service in message mode, for the controller's configuration and the
// proxy's snapshots alike. Thread-safe; keeps no state.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Returns INVALID_ARGUMENT with the field below `message`, the valid values and the value.
absl::Status CheckMessageOptions(const v1::MessageOptions& options);

// Checks a credential of Redis, which is the field of this name. Returns INVALID_ARGUMENT likewise.
absl::Status CheckRedisAuth(const v1::RedisAuth& auth, std::string_view field);

}  // namespace trunkline
