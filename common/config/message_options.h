// What must fit together in the options of a service in `message` mode: the controller says it of a
// configuration, the proxy of a snapshot. Thread-safe: no state.
#pragma once

#include "absl/status/status.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// INVALID_ARGUMENT names the field below `message`, what was expected and what is there.
absl::Status CheckMessageOptions(const v1::MessageOptions& options);

}  // namespace trunkline
