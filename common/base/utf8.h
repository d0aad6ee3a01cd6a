// Whether bytes of unknown origin are UTF-8, by RFC 3629. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace trunkline {

// Bytes of the sequence that `text`, which is not empty, starts with; 0 when it is malformed:
// truncated, overlong, a surrogate, or beyond U+10FFFF.
size_t Utf8SequenceLength(std::string_view text);

bool IsUtf8(std::string_view text);

// The beginning of `text`, which is UTF-8, in at most `max_bytes` and without half a character: a
// message with half a character in it is refused by whoever reads it.
std::string_view Utf8Prefix(std::string_view text, size_t max_bytes);

}  // namespace trunkline
