// Text of unknown origin (a peer's words, file names, errors) as a JSON string that every reader
// accepts: quotes and control characters escaped, bytes that are not UTF-8 replaced by U+FFFD.
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace trunkline {

// Appends `text` with its quotes: "a \"word\"".
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace trunkline
