// Files that a crash leaves old or new, never half: temporary file in the same folder, fsync,
// rename, fsync of the folder. Thread-safe for different paths.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trunkline {

absl::Status WriteFileAtomically(const std::string& path, std::string_view content);

// NOT_FOUND when there is none.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace trunkline
