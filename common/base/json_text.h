// Writes text of unknown origin (from peers, file names, errors) as a JSON string that every parser
// accepts: escapes quotes and control characters and replaces bytes that are not UTF-8 by U+FFFD.
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace trunkline {

// Appends `text` in quotes, for example "a \"word\"".
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace trunkline
