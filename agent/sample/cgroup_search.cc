#include "agent/sample/cgroup_search.h"

#include <deque>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

struct Pending {
  std::string directory;
  int depth;
};

absl::string_view WithoutParentSteps(absl::string_view path) {
  while (absl::ConsumePrefix(&path, "/..")) {
  }
  absl::ConsumePrefix(&path, "/");
  return path;
}

}  // namespace

absl::StatusOr<std::string> SearchCgroup(const SystemFiles& files, const std::string& top,
                                         absl::string_view path) {
  const absl::string_view wanted = WithoutParentSteps(path);
  if (wanted.empty()) {
    return absl::NotFoundError(
        absl::StrCat("cgroup path ", path, " names no group to search for; set cgroup_path"));
  }
  std::string found;
  int entries = 0;
  std::deque<Pending> queue = {{top, 0}};
  while (!queue.empty()) {
    const Pending at = std::move(queue.front());
    queue.pop_front();
    const std::string candidate = absl::StrCat(at.directory, "/", wanted);
    if (files.Exists(candidate)) {
      if (!found.empty()) {
        return absl::FailedPreconditionError(absl::StrCat("both ", found, " and ", candidate,
                                                          " end in ", wanted, "; set cgroup_path"));
      }
      found = candidate;
    }
    if (at.depth >= kMaxCgroupSearchDepth) continue;
    for (const std::string& name : files.Directories(at.directory)) {
      if (++entries > kMaxCgroupSearchEntries) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "more than ", kMaxCgroupSearchEntries, " groups below ", top, "; set cgroup_path"));
      }
      queue.push_back({absl::StrCat(at.directory, "/", name), at.depth + 1});
    }
  }
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("no group ", wanted, " below ", top,
                                            "; mount the host's groups there or set cgroup_path"));
  }
  return found;
}

}  // namespace trunkline
