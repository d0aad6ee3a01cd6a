// Whether bytes of unknown origin are UTF-8, by RFC 3629. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace trunkline {

// Bytes of the sequence that `text`, which is not empty, starts with; 0 when it is malformed:
// truncated, overlong, a surrogate, or beyond U+10FFFF.
size_t Utf8SequenceLength(std::string_view text);

bool IsUtf8(std::string_view text);

}  // namespace trunkline
