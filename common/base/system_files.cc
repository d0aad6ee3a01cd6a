#include "common/base/system_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace trunkline {
namespace {

constexpr size_t kChunkBytes = 16 << 10;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

// Longer link texts are cut. A link of /proc/PID/fd to a socket has at most 20 bytes.
constexpr size_t kMaxLinkBytes = 4096;

bool IsDirectory(const std::string& parent, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat info;
  return stat(absl::StrCat(parent, "/", entry.d_name).c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

absl::StatusOr<std::string> SystemFiles::Read(const std::string& path) const {
  const UniqueFd fd(open((root_ + path).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, path);
  std::string text;
  for (;;) {
    const size_t used = text.size();
    if (used > kMaxFileBytes) {
      return absl::OutOfRangeError(absl::StrCat(path, ": larger than ", kMaxFileBytes, " bytes"));
    }
    text.resize(used + kChunkBytes);
    const ssize_t n = read(fd.get(), text.data() + used, kChunkBytes);
    if (n < 0 && errno == EINTR) {
      text.resize(used);
      continue;
    }
    if (n < 0) return absl::ErrnoToStatus(errno, path);
    text.resize(used + static_cast<size_t>(n));
    if (n == 0) return text;
  }
}

bool SystemFiles::Exists(const std::string& path) const {
  return access((root_ + path).c_str(), F_OK) == 0;
}

std::vector<std::string> SystemFiles::Directories(const std::string& path) const {
  std::vector<std::string> names;
  const std::string full = root_ + path;
  const std::unique_ptr<DIR, CloseDirectory> directory(opendir(full.c_str()));
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && IsDirectory(full, *entry)) names.push_back(name);
  }
  return names;
}

absl::StatusOr<std::string> SystemFiles::ReadLink(const std::string& path) const {
  char text[kMaxLinkBytes];
  const ssize_t n = readlink((root_ + path).c_str(), text, sizeof(text));
  if (n < 0) return absl::ErrnoToStatus(errno, path);
  return std::string(text, static_cast<size_t>(n));
}

absl::StatusOr<std::vector<FileLink>> SystemFiles::Links(const std::string& path,
                                                         size_t limit) const {
  const std::unique_ptr<DIR, CloseDirectory> directory(opendir((root_ + path).c_str()));
  if (directory == nullptr) return absl::ErrnoToStatus(errno, path);
  std::vector<FileLink> links;
  while (links.size() < limit) {
    const dirent* const entry = readdir(directory.get());
    if (entry == nullptr) break;
    char text[kMaxLinkBytes];
    const ssize_t n = readlinkat(dirfd(directory.get()), entry->d_name, text, sizeof(text));
    // The descriptor was closed meanwhile, or the entry is no link.
    if (n < 0) continue;
    links.push_back({.name = entry->d_name, .target = std::string(text, static_cast<size_t>(n))});
  }
  return links;
}

}  // namespace trunkline
