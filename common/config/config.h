// Reads configuration files: YAML, mapped onto a protobuf message that is its schema.
//
// Each YAML key is a field name. A list of one scalar may be written as that scalar. Durations are
// written "500ms", "3s" or "1h30m"; integers of fields that end in `_bytes` may have a unit
// ("64KiB"); enum values are written in any case, with or without their prefix ("tunnel"). The
// (trunkline.v1.rule) options of the fields define the valid values. A file is accepted or rejected
// as a whole, with one line for each error, so that an operator can correct all of them at once:
//     agent.yaml:12: services[0].target: expected host:port, for example 127.0.0.1:9000; got "x"
// Thread-safe; keeps no state.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace trunkline {

// Reads the file into `*message`, which it clears first. Returns INVALID_ARGUMENT with the error
// lines, or NOT_FOUND or PERMISSION_DENIED if it cannot read the file.
absl::Status LoadConfigFile(const std::string& path, google::protobuf::Message* message);

// Does the same for text in memory. `name` is the file name in errors.
absl::Status ParseConfig(std::string_view yaml, std::string_view name,
                         google::protobuf::Message* message);

}  // namespace trunkline
