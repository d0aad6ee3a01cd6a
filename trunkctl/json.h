// Messages as JSON, for scripts. Thread-safe; keeps no state.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace trunkline {

// Ends with a newline. Fields have the names of the .proto files, and all are there, except unset
// optional ones.
std::string Json(const google::protobuf::Message& message, bool one_line);

}  // namespace trunkline
