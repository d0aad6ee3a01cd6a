// Reads a password from a file of this host: one line, so that a controller cannot make proxies
// send the content of other files to a server. Thread-safe: no state.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace trunkline {

inline constexpr size_t kMaxPasswordBytes = 512;

// Returns the line without its end. Errors name the path and the remedy, and never contain a part
// of the file. A file that is not a regular one is an error; it is not waited for.
absl::StatusOr<std::string> ReadPasswordFile(const std::string& path);

}  // namespace trunkline
