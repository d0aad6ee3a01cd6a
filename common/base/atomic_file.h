// Replaces files atomically: after a crash a file has its old or its new content. Writes a
// temporary file in the same folder, then fsync, rename and fsync of the folder. Thread-safe for
// different paths.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trunkline {

absl::Status WriteFileAtomically(const std::string& path, std::string_view content);

// Returns NOT_FOUND if the file does not exist.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace trunkline
