#include "agent/proc/process_tree.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

// Returns NOT_FOUND if the process has ended.
absl::StatusOr<ProcessStat> ReadStat(const SystemFiles& files, int pid) {
  const absl::StatusOr<std::string> text = files.Read(absl::StrCat("/proc/", pid, "/stat"));
  return text.ok() ? ParseProcessStat(*text) : text.status();
}

}  // namespace

ProcessTree::ProcessTree(const SystemFiles& files, double ticks_per_second)
    : files_(files), ticks_per_second_(ticks_per_second) {}

void ProcessTree::Scan(int root_pid) {
  std::multimap<int, ProcessStat> by_parent;
  std::map<int, Member> found;
  for (const std::string& name : files_.Directories("/proc")) {
    int pid = 0;
    if (!absl::SimpleAtoi(name, &pid)) continue;
    absl::StatusOr<ProcessStat> stat = ReadStat(files_, pid);
    if (!stat.ok()) continue;
    if (pid == root_pid) found[pid] = {.start_ticks = stat->start_ticks};
    const int parent = stat->parent_pid;
    by_parent.emplace(parent, *std::move(stat));
  }
  const uint64_t root_start = found.empty() ? 0 : found.begin()->second.start_ticks;
  if (root_pid != root_ || root_start != root_start_ticks_) {
    members_.clear();
    has_total_ = false;
  }
  root_ = root_pid;
  root_start_ticks_ = root_start;
  std::vector<int> parents;
  if (!found.empty()) parents.push_back(root_pid);
  while (!parents.empty() && found.size() < kMaxProcesses) {
    const int parent = parents.back();
    parents.pop_back();
    const auto [begin, end] = by_parent.equal_range(parent);
    for (auto it = begin; it != end; ++it) {
      const bool added =
          found.emplace(it->second.pid, Member{.start_ticks = it->second.start_ticks}).second;
      if (added) parents.push_back(it->second.pid);
    }
  }
  for (auto& [pid, member] : found) {
    const auto known = members_.find(pid);
    const bool same = known != members_.end() && known->second.start_ticks == member.start_ticks;
    if (same) member = known->second;
  }
  members_ = std::move(found);
}

double ProcessTree::CpuSeconds() {
  uint64_t total = 0;
  uint64_t survivors_growth = 0;
  for (auto it = members_.begin(); it != members_.end();) {
    const absl::StatusOr<ProcessStat> stat = ReadStat(files_, it->first);
    Member& member = it->second;
    if (!stat.ok() || stat->start_ticks != member.start_ticks) {
      it = members_.erase(it);
      continue;
    }
    total += stat->own_ticks + stat->reaped_children_ticks;
    if (member.seen && stat->own_ticks > member.own_ticks) {
      survivors_growth += stat->own_ticks - member.own_ticks;
    }
    member.own_ticks = stat->own_ticks;
    member.seen = true;
    ++it;
  }
  if (has_total_) {
    const uint64_t growth = total > last_total_ticks_ ? total - last_total_ticks_ : 0;
    counted_ticks_ += std::max(growth, survivors_growth);
  }
  has_total_ = !members_.empty();
  last_total_ticks_ = total;
  return static_cast<double>(counted_ticks_) / ticks_per_second_;
}

}  // namespace trunkline
