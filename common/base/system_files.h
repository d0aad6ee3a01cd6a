// Reads /proc, /sys and control groups, below a root that tests set to a recorded tree. Immutable,
// thread-safe. Errors carry the errno and the path.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trunkline {

class SystemFiles {
 public:
  // Limit of a file; mountinfo of a host with thousands of mounts is the longest that is needed.
  static constexpr size_t kMaxFileBytes = 4 << 20;

  // `root` is prepended to every path; empty for the real machine.
  explicit SystemFiles(std::string root = "") : root_(std::move(root)) {}

  absl::StatusOr<std::string> Read(const std::string& path) const;
  bool Exists(const std::string& path) const;
  // Returns the names of subdirectories, unsorted; empty if the directory cannot be read.
  std::vector<std::string> Directories(const std::string& path) const;

 private:
  const std::string root_;
};

}  // namespace trunkline
