// The one place where programs read /proc, /sys and control groups; a test gives it a recorded
// tree as the root. Immutable, thread-safe. Errors are the errno as a status and name the path.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trunkline {

class SystemFiles {
 public:
  // The longest file of these that is worth reading (mountinfo of a host with thousands of mounts);
  // more is an error.
  static constexpr size_t kMaxFileBytes = 4 << 20;

  // Put before every path; empty for the real machine.
  explicit SystemFiles(std::string root = "") : root_(std::move(root)) {}

  absl::StatusOr<std::string> Read(const std::string& path) const;
  bool Exists(const std::string& path) const;
  // Names in a directory that are directories themselves, unsorted; none when it cannot be read.
  std::vector<std::string> Directories(const std::string& path) const;

 private:
  const std::string root_;
};

}  // namespace trunkline
