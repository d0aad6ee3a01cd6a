// The controller's state file: read once at the start, replaced atomically after each change.
//
// A file that it cannot read is an error and stays untouched, because an empty start would silently
// discard learned capacities and an operator's drains. Errors name the file and the remedy.
// Externally synchronized (by main, then by the control loop).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/atomic_file.h"
#include "controller/core/stored_state.h"

namespace trunkline {

class StateStore {
 public:
  // Version of the file's format; Load refuses any other.
  static constexpr uint32_t kFormat = 1;

  // Replaces a file's content; WriteFileAtomically except in tests.
  using Writer = std::function<absl::Status(const std::string& path, std::string_view content)>;

  explicit StateStore(std::string path, Writer write = WriteFileAtomically)
      : path_(std::move(path)), write_(std::move(write)) {}

  // Returns nullopt if there is no file, and DATA_LOSS if it cannot be read as a state file.
  absl::StatusOr<std::optional<StoredState>> Load() const;
  // Returns RESOURCE_EXHAUSTED if the disk is full.
  absl::Status Save(const StoredState& state) const;

  const std::string& path() const { return path_; }

  static std::string ToText(const StoredState& state);
  // `name` is the file name in errors.
  static absl::StatusOr<StoredState> FromText(const std::string& text, const std::string& name);

 private:
  const std::string path_;
  const Writer write_;
};

}  // namespace trunkline
