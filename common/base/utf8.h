// Checks whether bytes are UTF-8 as defined by RFC 3629. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace trunkline {

// Returns the length in bytes of the first sequence of `text`, which must not be empty, or 0 if the
// sequence is malformed: truncated, overlong, a surrogate, or beyond U+10FFFF.
size_t Utf8SequenceLength(std::string_view text);

bool IsUtf8(std::string_view text);

// Returns the longest prefix of `text` (valid UTF-8) that has at most `max_bytes` and ends between
// characters, since parsers refuse messages with a truncated character.
std::string_view Utf8Prefix(std::string_view text, size_t max_bytes);

}  // namespace trunkline
