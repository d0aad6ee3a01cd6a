// Configuration files: YAML mapped onto a protobuf message, which is the one schema.
//
// Each YAML key is a field name. Durations are "500ms", "3s", "1h30m"; integers of fields that end
// in `_bytes` also take "64KiB"; enums take their names in any case, without the prefix. Rules
// (required, min, max, address form) are the (trunkline.v1.rule) options of the fields. A file is
// wrong as a whole or right as a whole: every error found is reported, one line each, as
//     agent.yaml:12: services[0].target: expected host:port, for example 127.0.0.1:9000; got "x"
// so that an operator mends the file in one go. Thread-safe: no state.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace trunkline {

// Reads `path` into `*message`, which is cleared first. INVALID_ARGUMENT carries the error lines;
// NOT_FOUND or PERMISSION_DENIED when the file cannot be read.
absl::Status LoadConfigFile(const std::string& path, google::protobuf::Message* message);

// The same for text in memory; `name` stands for the file in errors.
absl::Status ParseConfig(std::string_view yaml, std::string_view name,
                         google::protobuf::Message* message);

}  // namespace trunkline
