#include "agent/sample/socket_holders.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

// Returns the inode of "socket:[123]", or 0 for any other link.
uint32_t SocketInode(absl::string_view link) {
  uint32_t inode = 0;
  if (!absl::ConsumePrefix(&link, "socket:[") || !absl::ConsumeSuffix(&link, "]")) return 0;
  return absl::SimpleAtoi(link, &inode) ? inode : 0;
}

}  // namespace

void SocketHolders::Start(std::set<uint32_t> inodes) {
  inodes_ = std::move(inodes);
  found_.clear();
  some_unreadable_ = false;
  pids_.clear();
  for (const std::string& name : files_.Directories("/proc")) {
    int pid = 0;
    if (absl::SimpleAtoi(name, &pid)) pids_.push_back(pid);
  }
}

bool SocketHolders::Step(size_t max_links) {
  for (size_t visited = 0; !pids_.empty() && visited < max_links;) {
    const int pid = pids_.back();
    pids_.pop_back();
    const std::string directory = absl::StrCat("/proc/", pid, "/fd");
    const absl::StatusOr<std::vector<FileLink>> links =
        files_.Links(directory, kMaxLinksPerProcess);
    // A process that has ended is NOT_FOUND.
    if (absl::IsPermissionDenied(links.status())) some_unreadable_ = true;
    // Opening the directory costs about as much as a link.
    ++visited;
    if (!links.ok()) continue;
    visited += links->size();
    for (const FileLink& link : *links) {
      const uint32_t inode = SocketInode(link.target);
      if (inodes_.contains(inode)) found_[pid][absl::StrCat(directory, "/", link.name)] = inode;
    }
  }
  return pids_.empty();
}

bool SocketHolders::StillHolds(const Descriptors& descriptors,
                               const std::set<uint32_t>& inodes) const {
  return std::any_of(descriptors.begin(), descriptors.end(), [&](const auto& descriptor) {
    const auto& [path, inode] = descriptor;
    if (!inodes.contains(inode)) return false;
    const absl::StatusOr<std::string> link = files_.ReadLink(path);
    return link.ok() ? SocketInode(*link) == inode : absl::IsPermissionDenied(link.status());
  });
}

}  // namespace trunkline
