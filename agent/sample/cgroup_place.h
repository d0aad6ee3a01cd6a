// One process's control groups on this machine: found once, then read for usage and limits.
//
// Limits nest: a group inside another has the tightest of all of them, so every question about a
// limit walks up to the mount point. CPU counts the group's own use against the tightest quota of
// its ancestors; memory counts, level by level, use against limit, and answers with the fullest
// level, for that is the one at which the kernel kills. Edge: reads files through SystemFiles.
// Immutable after Locate; thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/system_files.h"

namespace trunkline {

class CgroupPlace {
 public:
  // Of the process `pid` ("self" for the agent). `cgroup_root` is where the groups are mounted that
  // should be looked at. A group that the process's path names only relative to another namespace
  // ("/../<id>") is searched for by name below the mount. NOT_FOUND says what was missing and what
  // to configure.
  static absl::StatusOr<CgroupPlace> OfProcess(const SystemFiles& files,
                                               const std::string& cgroup_root,
                                               const std::string& pid);
  // The group `path` (below each mount of `cgroup_root`), which must exist.
  static absl::StatusOr<CgroupPlace> OfPath(const SystemFiles& files,
                                            const std::string& cgroup_root,
                                            const std::string& path);

  // "cgroup v1" or "cgroup v2": of the CPU numbers.
  const char* version() const { return cpu_.v2 ? "cgroup v2" : "cgroup v1"; }
  // Where the quota is: for logs.
  const std::string& directory() const { return cpu_.directory; }

  // NOT_FOUND where version 1 accounts CPU in another group than it limits.
  absl::StatusOr<double> CpuSeconds(const SystemFiles& files) const;
  // Cores; kNoLimit without a quota.
  double CpuQuota(const SystemFiles& files) const;
  // Cores of the group's cpuset; kNoLimit when unknown.
  double CpusetCores(const SystemFiles& files) const;
  // Use (less what the kernel would take back first) over limit, of the fullest level; NOT_FOUND
  // when no level has a limit.
  absl::StatusOr<double> MemoryUtilization(const SystemFiles& files) const;
  // Directory with cpu.pressure and so on; empty when there is none.
  const std::string& pressure_directory() const { return pressure_directory_; }

 private:
  struct Group {
    bool v2 = false;
    // The mount point: the walk up ends here.
    std::string top;
    // Empty: this controller is not there.
    std::string directory;
  };
  struct Lookup;

  static absl::StatusOr<CgroupPlace> Build(const Lookup& lookup);

  Group cpu_;
  // Version 1: cpuacct.
  Group usage_;
  Group cpuset_;
  Group memory_;
  std::string pressure_directory_;
};

}  // namespace trunkline
