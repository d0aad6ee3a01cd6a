// The control groups of one process: located once, then read for usage and limits.
//
// Limits nest, so the limits of all levels up to the mount point apply. CPU compares the group's
// own use with the tightest quota. Memory compares use and limit at each level and returns the
// fullest, where the kernel would kill first. Edge: reads files through SystemFiles. Immutable and
// thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {

class CgroupPlace {
 public:
  // A server's own group has a few groups below it.
  static constexpr int kMaxGroupsBelow = 100;

  // Locates the groups of process `pid` ("self" for the agent), preferably in mounts below
  // `cgroup_root`. If the path is relative to another namespace ("/../<id>"), searches below the
  // mount for a group of that name. NOT_FOUND names the missing part and the remedy.
  static absl::StatusOr<CgroupPlace> OfProcess(const SystemFiles& files,
                                               const std::string& cgroup_root,
                                               const std::string& pid);
  // Locates the group `path` below the mounts of `cgroup_root`; it must exist.
  static absl::StatusOr<CgroupPlace> OfPath(const SystemFiles& files,
                                            const std::string& cgroup_root,
                                            const std::string& path);

  // The version of the CPU controller.
  const char* version() const { return cpu_.v2 ? "cgroup v2" : "cgroup v1"; }
  // Returns whether no process is in the group or in one below it; nullopt if that cannot be read,
  // or there are more than kMaxGroupsBelow groups below it.
  std::optional<bool> Empty(const SystemFiles& files) const;
  // The directory of the CPU quota, for logs.
  const std::string& directory() const { return cpu_.directory; }

  // Returns NOT_FOUND if version 1 accounts CPU time in another group than it limits.
  absl::StatusOr<double> CpuSeconds(const SystemFiles& files) const;
  // Returns the quota in cores, or kNoLimit.
  double CpuQuota(const SystemFiles& files) const;
  // Returns how each level with a quota was throttled, by its directory. A level that cannot be
  // read is absent.
  std::map<std::string, CpuThrottling> Throttling(const SystemFiles& files) const;
  // Returns the number of cores in the group's cpuset, or kNoLimit if unknown.
  double CpusetCores(const SystemFiles& files) const;
  // Returns use, without pages that the kernel reclaims first, over limit, at the fullest level.
  // NOT_FOUND means that no level has a limit.
  absl::StatusOr<double> MemoryUtilization(const SystemFiles& files) const;
  // The directory with cpu.pressure and its siblings; empty if there is none.
  const std::string& pressure_directory() const { return pressure_directory_; }

 private:
  struct Group {
    bool v2 = false;
    // The mount point, the highest level.
    std::string top;
    // Empty if the controller is absent.
    std::string directory;
  };
  struct Lookup;

  static absl::StatusOr<CgroupPlace> Build(const Lookup& lookup);

  Group cpu_;
  // cpuacct in version 1, cpu_ in version 2.
  Group usage_;
  Group cpuset_;
  Group memory_;
  std::string pressure_directory_;
};

}  // namespace trunkline
