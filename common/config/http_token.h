// Tokens of HTTP, of which methods consist. Thread-safe; keeps no state.
#pragma once

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"

namespace trunkline {

// Returns true for a token of RFC 9110 5.6.2.
inline bool IsHttpToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

}  // namespace trunkline
