// The controller's state file: read once at the start, replaced atomically after each change.
//
// A file that it cannot read is an error and stays untouched, because an empty start would silently
// discard learned capacities and an operator's drains. Errors name the file and the remedy.
// Externally synchronized (by main, then by the control loop).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/core/stored_state.h"

namespace trunkline {

class StateStore {
 public:
  // Version of the file's format; Load refuses any other.
  static constexpr uint32_t kFormat = 1;

  explicit StateStore(std::string path) : path_(std::move(path)) {}

  // Returns nullopt if there is no file, and DATA_LOSS if it cannot be read as a state file.
  absl::StatusOr<std::optional<StoredState>> Load() const;
  absl::Status Save(const StoredState& state) const;

  const std::string& path() const { return path_; }

  static std::string ToText(const StoredState& state);
  // `name` is the file name in errors.
  static absl::StatusOr<StoredState> FromText(const std::string& text, const std::string& name);

 private:
  const std::string path_;
};

}  // namespace trunkline
