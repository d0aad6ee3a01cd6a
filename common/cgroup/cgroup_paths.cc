#include "common/cgroup/cgroup_paths.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace trunkline {
namespace {

// mountinfo: id parent major:minor root mount_point options [optional fields] - type source
// super_options
constexpr size_t kRoot = 3;
constexpr size_t kMountPoint = 4;
constexpr size_t kFieldsBeforeDash = 6;
constexpr size_t kType = 0;
constexpr size_t kSuperOptions = 2;
constexpr size_t kFieldsAfterDash = 3;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// Decodes the octal escapes of space, tab, newline and backslash, such as \040.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) &&
                        IsOctal(text[i + 2]) && IsOctal(text[i + 3]);
    if (!escape) {
      out.push_back(text[i]);
      continue;
    }
    const int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
    out.push_back(static_cast<char>(value & 0xff));
    i += 3;
  }
  return out;
}

// Returns whether a mount option names a controller.
bool IsController(absl::string_view option) {
  return option != "rw" && option != "ro" && option.find('=') == absl::string_view::npos &&
         option != "xattr" && option != "clone_children" && option != "noprefix";
}

// Returns whether `path` is `prefix` or below it.
bool IsAtOrBelow(absl::string_view path, absl::string_view prefix) {
  prefix = absl::StripSuffix(prefix, "/");
  if (!absl::ConsumePrefix(&path, prefix)) return false;
  return path.empty() || path[0] == '/';
}

bool HasParentStep(absl::string_view path) {
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::vector<CgroupMount>> ParseCgroupMounts(absl::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const size_t dash = line.find(" - ");
    if (dash == absl::string_view::npos) {
      return absl::InvalidArgumentError("mountinfo: a line without \" - \"");
    }
    const std::vector<absl::string_view> before =
        absl::StrSplit(line.substr(0, dash), ' ', absl::SkipEmpty());
    const std::vector<absl::string_view> after =
        absl::StrSplit(line.substr(dash + 3), ' ', absl::SkipEmpty());
    if (after.empty() || (after[kType] != "cgroup" && after[kType] != "cgroup2")) continue;
    if (before.size() < kFieldsBeforeDash || after.size() < kFieldsAfterDash) {
      return absl::InvalidArgumentError("mountinfo: a cgroup line is too short");
    }
    CgroupMount mount;
    mount.v2 = after[kType] == "cgroup2";
    mount.root = Unescape(before[kRoot]);
    mount.mount_point = Unescape(before[kMountPoint]);
    for (absl::string_view option : absl::StrSplit(after[kSuperOptions], ',')) {
      if (!mount.v2 && IsController(option)) mount.controllers.emplace_back(option);
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

absl::StatusOr<std::vector<CgroupMembership>> ParseCgroupMembership(
    absl::string_view proc_pid_cgroup) {
  std::vector<CgroupMembership> memberships;
  for (absl::string_view line : absl::StrSplit(proc_pid_cgroup, '\n', absl::SkipEmpty())) {
    // The path may hold ':' itself.
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    CgroupMembership membership;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &membership.hierarchy) ||
        !absl::StartsWith(parts[2], "/")) {
      return absl::InvalidArgumentError("PID/cgroup: expected lines of the form 4:memory:/path");
    }
    for (absl::string_view name : absl::StrSplit(parts[1], ',', absl::SkipEmpty())) {
      if (!absl::StartsWith(name, "name=")) membership.controllers.emplace_back(name);
    }
    // The kernel marks a group that was removed while it still had processes.
    membership.path = std::string(absl::StripSuffix(parts[2], " (deleted)"));
    memberships.push_back(std::move(membership));
  }
  if (memberships.empty()) return absl::InvalidArgumentError("PID/cgroup: empty");
  return memberships;
}

std::vector<const CgroupMount*> FindCgroupMounts(const std::vector<CgroupMount>& mounts,
                                                 absl::string_view controller,
                                                 absl::string_view below) {
  std::vector<const CgroupMount*> found;
  for (const CgroupMount& mount : mounts) {
    const bool serves = controller.empty()
                            ? mount.v2
                            : std::find(mount.controllers.begin(), mount.controllers.end(),
                                        controller) != mount.controllers.end();
    if (serves && IsAtOrBelow(mount.mount_point, below)) found.push_back(&mount);
  }
  return found;
}

const std::string* FindCgroupPath(const std::vector<CgroupMembership>& memberships,
                                  absl::string_view controller) {
  for (const CgroupMembership& membership : memberships) {
    const bool in = controller.empty()
                        ? membership.v2()
                        : std::find(membership.controllers.begin(), membership.controllers.end(),
                                    controller) != membership.controllers.end();
    if (in) return &membership.path;
  }
  return nullptr;
}

std::optional<std::string> CgroupDirectory(const CgroupMount& mount, absl::string_view path) {
  if (HasParentStep(path) || HasParentStep(mount.root)) return std::nullopt;
  if (!IsAtOrBelow(path, mount.root)) return std::nullopt;
  path.remove_prefix(absl::StripSuffix(mount.root, "/").size());
  return absl::StrCat(mount.mount_point, absl::StripSuffix(path, "/"));
}

}  // namespace trunkline
