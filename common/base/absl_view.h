// Converts between absl::string_view and std::string_view, which are different types because Debian
// builds abseil for C++14. Interfaces of this project take std::string_view. Pure.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace trunkline {

inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }
// Converts back, for example in LogWarn("...: {}", StdView(status.message())).
inline std::string_view StdView(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace trunkline
