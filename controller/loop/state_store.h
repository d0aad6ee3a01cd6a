// The controller's state file: read once at the start, replaced whole whenever what it holds
// changed.
//
// A file that cannot be understood is an error and stays untouched: starting empty over it would
// throw learned capacities and an operator's drains away in silence. Externally synchronized (main,
// then the control loop). Errors name the file and say what to do.
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
  // Of the file's layout; another one is refused.
  static constexpr uint32_t kFormat = 1;

  explicit StateStore(std::string path) : path_(std::move(path)) {}

  // nullopt: there is no file yet.
  absl::StatusOr<std::optional<StoredState>> Load() const;
  absl::Status Save(const StoredState& state) const;

  const std::string& path() const { return path_; }

  static std::string ToText(const StoredState& state);
  // `name` stands for the file in errors.
  static absl::StatusOr<StoredState> FromText(const std::string& text, const std::string& name);

 private:
  const std::string path_;
};

}  // namespace trunkline
