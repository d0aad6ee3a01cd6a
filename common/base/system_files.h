// Reads /proc, /sys and control groups, below a root that tests set to a recorded tree. Immutable,
// thread-safe. Errors carry the errno and the path.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trunkline {

struct FileLink {
  std::string name;
  // The link's text.
  std::string target;
};

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
  // Returns the text of a symbolic link, whose target need not exist.
  absl::StatusOr<std::string> ReadLink(const std::string& path) const;
  // Returns the first `limit` symbolic links of a directory, in its order. Skips other entries.
  absl::StatusOr<std::vector<FileLink>> Links(const std::string& path, size_t limit) const;

 private:
  const std::string root_;
};

}  // namespace trunkline
