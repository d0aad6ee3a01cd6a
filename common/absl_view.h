// Debian's abseil is built for C++14, so its string_view is a type of its own that std::string_view does not turn into.
// Interfaces of this project take std::string_view; code that hands it to abseil goes through here. Pure.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace trunkline {

inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace trunkline
