// The rule for names of agents, proxies, services and endpoints. A name is a metric label, a table
// cell and part of a path in messages ("service/endpoint"), so it has no spaces and no slashes.
// Thread-safe; keeps no state.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace trunkline {

inline constexpr size_t kMaxNameLength = 128;

// Returns true for 1 to kMaxNameLength printable ASCII characters without spaces and slashes.
bool IsName(std::string_view name);

// Returns INVALID_ARGUMENT with `field` and the name unless IsName(name).
absl::Status CheckName(std::string_view field, std::string_view name);

}  // namespace trunkline
