#include "dataplane/memory/memory_group.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"
#include "common/cgroup/cgroup_paths.h"

namespace trunkline {
namespace {

MemoryGroup GroupAt(const std::string& directory, bool v2) {
  const auto file = [&](const char* in_v2, const char* in_v1) {
    return absl::StrCat(directory, "/", v2 ? in_v2 : in_v1);
  };
  return {.usage = file("memory.current", "memory.usage_in_bytes"),
          .limit = file("memory.max", "memory.limit_in_bytes"),
          .stat = file("memory.stat", "memory.stat")};
}

// Finds the tightest limit from `directory` up to the mount point of the hierarchy.
void LookUpwards(const SystemFiles& files, std::string directory, const CgroupMount& mount,
                 std::optional<MemoryGroup>* tightest) {
  while (directory.size() >= mount.mount_point.size()) {
    MemoryGroup group = GroupAt(directory, mount.v2);
    const absl::StatusOr<std::string> text = files.Read(group.limit);
    const double limit = text.ok() ? ParseMemoryLimit(*text).value_or(kNoLimit) : kNoLimit;
    const bool tighter =
        !tightest->has_value() || limit < static_cast<double>((*tightest)->limit_bytes);
    if (limit != kNoLimit && limit > 0 && tighter) {
      group.limit_bytes = static_cast<int64_t>(limit);
      *tightest = std::move(group);
    }
    const size_t slash = directory.rfind('/');
    if (slash == std::string::npos || directory == mount.mount_point) return;
    directory.resize(slash);
  }
}

}  // namespace

std::optional<MemoryGroup> FindMemoryGroup(const SystemFiles& files, const std::string& pid) {
  const absl::StatusOr<std::string> mountinfo = files.Read("/proc/self/mountinfo");
  const absl::StatusOr<std::string> cgroup = files.Read(absl::StrCat("/proc/", pid, "/cgroup"));
  if (!mountinfo.ok() || !cgroup.ok()) return std::nullopt;
  const absl::StatusOr<std::vector<CgroupMount>> mounts = ParseCgroupMounts(*mountinfo);
  const absl::StatusOr<std::vector<CgroupMembership>> places = ParseCgroupMembership(*cgroup);
  if (!mounts.ok() || !places.ok()) return std::nullopt;
  std::optional<MemoryGroup> tightest;
  // Version 1 has a hierarchy for memory; version 2 has only one.
  for (const char* const controller : {"memory", ""}) {
    const std::string* const path = FindCgroupPath(*places, controller);
    if (path == nullptr) continue;
    for (const CgroupMount* mount : FindCgroupMounts(*mounts, controller, "/")) {
      const std::optional<std::string> directory = CgroupDirectory(*mount, *path);
      if (directory) LookUpwards(files, *directory, *mount, &tightest);
    }
  }
  return tightest;
}

}  // namespace trunkline
