// Debian's abseil is built for C++14, so its string_view is a type of its own that std::string_view
// does not turn into. Interfaces of this project take std::string_view; code between the two goes
// through here. Pure.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace trunkline {

inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }
// And back, for logs: LogWarn("...: {}", StdView(status.message())).
inline std::string_view StdView(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace trunkline
