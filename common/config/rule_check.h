// Checks messages from the network against the bounds that the configuration obeys, so that the
// limits stand in the .proto files alone. Thread-safe; keeps no state.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}

namespace trunkline {

// Checks every number and duration that is set in `message` and its submessages against the bounds
// of its (trunkline.v1.rule) option. Skips repeated fields. Returns INVALID_ARGUMENT for the first
// field out of bounds, with its path below `path`, the bounds and the value.
absl::Status CheckRules(const google::protobuf::Message& message, absl::string_view path);

}  // namespace trunkline
