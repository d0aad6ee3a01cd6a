#include "agent/sample/cgroup_place.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/proc/proc_stat.h"
#include "agent/sample/cgroup_search.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"
#include "common/cgroup/cgroup_paths.h"

namespace trunkline {
namespace {

// Returns the group's directory and its ancestors up to the mount point.
std::vector<std::string> Levels(const std::string& directory, const std::string& top) {
  std::vector<std::string> levels;
  for (std::string at = directory; at.size() >= top.size();) {
    levels.push_back(at);
    const size_t slash = at.rfind('/');
    if (slash == std::string::npos || at == top) break;
    at.resize(slash);
  }
  return levels;
}

absl::StatusOr<double> QuotaAt(const SystemFiles& files, const std::string& level, bool v2) {
  if (v2) {
    const absl::StatusOr<std::string> max = files.Read(level + "/cpu.max");
    return max.ok() ? ParseCpuMax(*max) : max.status();
  }
  const absl::StatusOr<std::string> quota = files.Read(level + "/cpu.cfs_quota_us");
  const absl::StatusOr<std::string> period = files.Read(level + "/cpu.cfs_period_us");
  if (!quota.ok()) return quota.status();
  return period.ok() ? ParseCfsQuota(*quota, *period) : period.status();
}

std::string NameOf(const std::string& controller) {
  return controller.empty() ? "version 2" : controller;
}

// Returns use over limit at one level, or 0 without a limit.
absl::StatusOr<double> MemoryAt(const SystemFiles& files, const std::string& level, bool v2) {
  const absl::StatusOr<std::string> limit_text =
      files.Read(level + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  if (!limit_text.ok()) return limit_text.status();
  const absl::StatusOr<double> limit = ParseMemoryLimit(*limit_text);
  if (!limit.ok() || *limit == kNoLimit || *limit <= 0) return limit.ok() ? 0.0 : limit;
  const absl::StatusOr<std::string> usage_text =
      files.Read(level + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!usage_text.ok()) return usage_text.status();
  absl::StatusOr<double> usage = ParseMemoryUsage(*usage_text);
  if (!usage.ok()) return usage;
  const absl::StatusOr<std::string> stat = files.Read(level + "/memory.stat");
  const double reclaimable = stat.ok() ? ParseInactiveFile(*stat).value_or(0) : 0;
  return std::max(0.0, *usage - reclaimable) / *limit;
}

}  // namespace

// Locates the group of each controller, for one process or one configured path.
struct CgroupPlace::Lookup {
  const SystemFiles& files;
  const std::string& cgroup_root;
  std::vector<CgroupMount> mounts;
  // The process's groups; empty for a configured path.
  std::vector<CgroupMembership> memberships;
  std::string path;

  absl::StatusOr<Group> Find(const std::string& controller) const;
  absl::StatusOr<Group> InMounts(const std::string& controller, const std::string& group) const;
};

// Tries the mounts below cgroup_root first, then all others.
absl::StatusOr<CgroupPlace::Group> CgroupPlace::Lookup::InMounts(const std::string& controller,
                                                                 const std::string& group) const {
  std::vector<const CgroupMount*> candidates = FindCgroupMounts(mounts, controller, cgroup_root);
  for (const CgroupMount* mount : FindCgroupMounts(mounts, controller, "/")) {
    candidates.push_back(mount);
  }
  if (candidates.empty()) {
    return absl::NotFoundError(absl::StrCat("no cgroup mount for ", NameOf(controller)));
  }
  for (const CgroupMount* mount : candidates) {
    const std::optional<std::string> directory = CgroupDirectory(*mount, group);
    if (directory.has_value() && files.Exists(*directory)) {
      return Group{.v2 = mount->v2, .top = mount->mount_point, .directory = *directory};
    }
  }
  const CgroupMount& mount = *candidates.front();
  absl::StatusOr<std::string> found = SearchCgroup(files, mount.mount_point, group);
  if (!found.ok()) return found.status();
  return Group{.v2 = mount.v2, .top = mount.mount_point, .directory = *std::move(found)};
}

absl::StatusOr<CgroupPlace::Group> CgroupPlace::Lookup::Find(const std::string& controller) const {
  if (memberships.empty()) {
    const std::vector<const CgroupMount*> below = FindCgroupMounts(mounts, controller, cgroup_root);
    if (below.empty()) {
      return absl::NotFoundError(
          absl::StrCat("no cgroup mount for ", NameOf(controller), " below ", cgroup_root));
    }
    const CgroupMount* mount = below.front();
    const std::string directory =
        absl::StrCat(mount->mount_point, "/", absl::StripPrefix(path, "/"));
    if (!files.Exists(directory)) {
      return absl::NotFoundError(absl::StrCat("cgroup_path: no directory ", directory));
    }
    return Group{.v2 = mount->v2, .top = mount->mount_point, .directory = directory};
  }
  const std::string* group = FindCgroupPath(memberships, controller);
  if (group == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("the process has no control group for ", NameOf(controller)));
  }
  return InMounts(controller, *group);
}

absl::StatusOr<CgroupPlace> CgroupPlace::Build(const Lookup& lookup) {
  CgroupPlace place;
  const absl::StatusOr<Group> v2 = lookup.Find("");
  // The kernel attaches a controller to one version only: to version 1 if that is mounted, else to
  // version 2.
  const auto in_either = [&](const std::string& controller) {
    const bool v1 = !FindCgroupMounts(lookup.mounts, controller, "/").empty();
    return v1 ? lookup.Find(controller) : v2;
  };
  const absl::StatusOr<Group> cpu = in_either("cpu");
  if (!cpu.ok()) return cpu.status();
  place.cpu_ = *cpu;
  place.usage_ = *cpu;
  if (!cpu->v2) {
    // With separate mounts, a process can be accounted in another group than the one that limits
    // it; the use of that group is not comparable with the limit.
    const Group usage = lookup.Find("cpuacct").value_or(Group());
    const bool same = !usage.directory.empty() && absl::StripPrefix(usage.directory, usage.top) ==
                                                      absl::StripPrefix(cpu->directory, cpu->top);
    place.usage_ = same ? usage : Group();
  }
  place.cpuset_ = in_either("cpuset").value_or(Group());
  place.memory_ = in_either("memory").value_or(Group());
  if (v2.ok() && lookup.files.Exists(v2->directory + "/cpu.pressure")) {
    place.pressure_directory_ = v2->directory;
  }
  return place;
}

absl::StatusOr<CgroupPlace> CgroupPlace::OfProcess(const SystemFiles& files,
                                                   const std::string& cgroup_root,
                                                   const std::string& pid) {
  const absl::StatusOr<std::string> mountinfo = files.Read("/proc/self/mountinfo");
  if (!mountinfo.ok()) return mountinfo.status();
  absl::StatusOr<std::vector<CgroupMount>> mounts = ParseCgroupMounts(*mountinfo);
  if (!mounts.ok()) return mounts.status();
  const absl::StatusOr<std::string> text = files.Read(absl::StrCat("/proc/", pid, "/cgroup"));
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<CgroupMembership>> memberships = ParseCgroupMembership(*text);
  if (!memberships.ok()) return memberships.status();
  return Build({files, cgroup_root, *std::move(mounts), *std::move(memberships), ""});
}

absl::StatusOr<CgroupPlace> CgroupPlace::OfPath(const SystemFiles& files,
                                                const std::string& cgroup_root,
                                                const std::string& path) {
  const absl::StatusOr<std::string> mountinfo = files.Read("/proc/self/mountinfo");
  if (!mountinfo.ok()) return mountinfo.status();
  absl::StatusOr<std::vector<CgroupMount>> mounts = ParseCgroupMounts(*mountinfo);
  if (!mounts.ok()) return mounts.status();
  return Build({files, cgroup_root, *std::move(mounts), {}, path});
}

absl::StatusOr<double> CgroupPlace::CpuSeconds(const SystemFiles& files) const {
  if (usage_.directory.empty()) {
    return absl::NotFoundError(
        absl::StrCat("cpuacct accounts the process in another group than ", cpu_.directory));
  }
  if (usage_.v2) {
    const absl::StatusOr<std::string> stat = files.Read(usage_.directory + "/cpu.stat");
    return stat.ok() ? ParseCpuStatSeconds(*stat) : stat.status();
  }
  const absl::StatusOr<std::string> usage = files.Read(usage_.directory + "/cpuacct.usage");
  return usage.ok() ? ParseCpuacctSeconds(*usage) : usage.status();
}

std::optional<bool> CgroupPlace::Empty(const SystemFiles& files) const {
  std::vector<std::string> groups = {cpu_.directory};
  for (size_t i = 0; i < groups.size(); ++i) {
    if (i > kMaxGroupsBelow) return std::nullopt;
    const std::string group = groups[i];
    const absl::StatusOr<std::string> processes = files.Read(group + "/cgroup.procs");
    if (!processes.ok()) return std::nullopt;
    if (!processes->empty()) return false;
    for (const std::string& name : files.Directories(group)) {
      groups.push_back(absl::StrCat(group, "/", name));
    }
  }
  return true;
}

double CgroupPlace::CpuQuota(const SystemFiles& files) const {
  double quota = kNoLimit;
  for (const std::string& level : Levels(cpu_.directory, cpu_.top)) {
    quota = std::min(quota, QuotaAt(files, level, cpu_.v2).value_or(kNoLimit));
  }
  return quota;
}

std::map<std::string, CpuThrottling> CgroupPlace::Throttling(const SystemFiles& files) const {
  std::map<std::string, CpuThrottling> throttling;
  for (const std::string& level : Levels(cpu_.directory, cpu_.top)) {
    if (QuotaAt(files, level, cpu_.v2).value_or(kNoLimit) == kNoLimit) continue;
    const absl::StatusOr<std::string> stat = files.Read(level + "/cpu.stat");
    const absl::StatusOr<CpuThrottling> at = stat.ok() ? ParseCpuThrottling(*stat) : stat.status();
    if (at.ok()) throttling[level] = *at;
  }
  return throttling;
}

double CgroupPlace::CpusetCores(const SystemFiles& files) const {
  if (cpuset_.directory.empty()) return kNoLimit;
  for (const char* name : {"/cpuset.cpus.effective", "/cpuset.effective_cpus", "/cpuset.cpus"}) {
    const absl::StatusOr<std::string> list = files.Read(cpuset_.directory + name);
    if (!list.ok()) continue;
    const absl::StatusOr<int> count = CountCpuList(*list);
    if (count.ok()) return *count;
  }
  return kNoLimit;
}

absl::StatusOr<double> CgroupPlace::MemoryUtilization(const SystemFiles& files) const {
  if (memory_.directory.empty()) return absl::NotFoundError("no memory controller");
  double fullest = 0;
  for (const std::string& level : Levels(memory_.directory, memory_.top)) {
    fullest = std::max(fullest, MemoryAt(files, level, memory_.v2).value_or(0));
  }
  if (fullest == 0) return absl::NotFoundError("no memory limit");
  return fullest;
}

}  // namespace trunkline
