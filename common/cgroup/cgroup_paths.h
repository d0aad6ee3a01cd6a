// Where a process's control groups are in the file system, on version 1, version 2 and both at once
// ("hybrid").
//
// Two files tell: /proc/self/mountinfo (which hierarchies are mounted where) and /proc/PID/cgroup
// (the process's place in each). They are joined by path, which works when both are seen from the
// same cgroup namespace. In a container that looks at another container's process the place reads
// "/../<id>": no path arithmetic can solve that, so the caller then searches for <id> below the
// mount (agent/sample/cgroup_place.h). Formats: proc(5), cgroups(7), cgroup_namespaces(7). Pure and
// thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

struct CgroupMount {
  bool v2 = false;
  // Version 1 only: "cpu", "cpuacct", "memory" ...; a named hierarchy has none.
  std::vector<std::string> controllers;
  // The group that the mount point shows, as seen from the reader's cgroup namespace: "/",
  // "/docker/<id>", "/../..".
  std::string root;
  std::string mount_point;
};

// In the order of the file. A cgroup line that lacks fields is INVALID_ARGUMENT; other mounts are
// skipped.
absl::StatusOr<std::vector<CgroupMount>> ParseCgroupMounts(absl::string_view mountinfo);

struct CgroupMembership {
  // Empty: version 2, or a named version 1 hierarchy when `hierarchy` is not 0.
  std::vector<std::string> controllers;
  int hierarchy = 0;
  std::string path;

  bool v2() const { return hierarchy == 0 && controllers.empty(); }
};

absl::StatusOr<std::vector<CgroupMembership>> ParseCgroupMembership(
    absl::string_view proc_pid_cgroup);

// The mounts that serve `controller` ("" = version 2) and are at or below `below`, in the order of
// the file.
std::vector<const CgroupMount*> FindCgroupMounts(const std::vector<CgroupMount>& mounts,
                                                 absl::string_view controller,
                                                 absl::string_view below);

// The process's path in the hierarchy of `controller` ("" = version 2); nullptr when it is in none.
const std::string* FindCgroupPath(const std::vector<CgroupMembership>& memberships,
                                  absl::string_view controller);

// The directory of group `path` under `mount`; nullopt when the two are seen from different
// namespaces.
std::optional<std::string> CgroupDirectory(const CgroupMount& mount, absl::string_view path);

}  // namespace trunkline
