// Finds the directories of a process's control groups, for version 1, version 2 and both at once
// ("hybrid").
//
// /proc/self/mountinfo lists the mounted hierarchies, and /proc/PID/cgroup the process's path in
// each. The two join by path if both are seen from the same cgroup namespace. The path of a process
// in another container reads "/../<id>", which no path arithmetic resolves; the caller then
// searches for <id> below the mount (agent/sample/cgroup_place.h). Formats: proc(5), cgroups(7),
// cgroup_namespaces(7). Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct CgroupMount {
  bool v2 = false;
  // Version 1 only, such as "cpu", "cpuacct" and "memory"; empty for a named hierarchy.
  std::vector<std::string> controllers;
  // The group at the mount point, in the reader's cgroup namespace, such as "/", "/docker/<id>" or
  // "/../..".
  std::string root;
  std::string mount_point;
};

// Returns the cgroup mounts in the order of the file. INVALID_ARGUMENT means that a cgroup line
// lacks fields.
absl::StatusOr<std::vector<CgroupMount>> ParseCgroupMounts(absl::string_view mountinfo);

struct CgroupMembership {
  // Controllers of version 1. Empty for version 2, and for a named version 1 hierarchy, whose
  // `hierarchy` is not 0.
  std::vector<std::string> controllers;
  int hierarchy = 0;
  std::string path;

  bool v2() const { return hierarchy == 0 && controllers.empty(); }
};

absl::StatusOr<std::vector<CgroupMembership>> ParseCgroupMembership(
    absl::string_view proc_pid_cgroup);

// Returns the mounts with `controller` ("" for version 2) at or below `below`, in the order of the
// file.
std::vector<const CgroupMount*> FindCgroupMounts(const std::vector<CgroupMount>& mounts,
                                                 absl::string_view controller,
                                                 absl::string_view below);

// Returns the process's path in the hierarchy of `controller` ("" for version 2), or nullptr.
const std::string* FindCgroupPath(const std::vector<CgroupMembership>& memberships,
                                  absl::string_view controller);

// Returns the directory of group `path` in `mount`, or nullopt if the two are seen from different
// namespaces.
std::optional<std::string> CgroupDirectory(const CgroupMount& mount, absl::string_view path);

}  // namespace trunkline
