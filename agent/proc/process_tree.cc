#include "agent/proc/process_tree.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

constexpr double kNanosPerSecond = 1e9;

// The kernel rounds user and system time of reaped children down to a tick each, for each parent.
constexpr uint64_t kRoundedTicksPerParent = 2;

// Returns NOT_FOUND if the process has ended.
absl::StatusOr<ProcessStat> ReadStat(const SystemFiles& files, int pid) {
  const absl::StatusOr<std::string> text = files.Read(absl::StrCat("/proc/", pid, "/stat"));
  return text.ok() ? ParseProcessStat(*text) : text.status();
}

}  // namespace

ProcessTree::ProcessTree(const SystemFiles& files, double ticks_per_second, Clock clock)
    : files_(files), ticks_per_second_(ticks_per_second), clock_(std::move(clock)) {}

uint64_t ProcessTree::NanosOf(uint64_t ticks) const {
  return static_cast<uint64_t>(static_cast<double>(ticks) * kNanosPerSecond / ticks_per_second_);
}

absl::StatusOr<uint64_t> ProcessTree::OwnNanos(const ProcessStat& stat) const {
  if (!clock_) return NanosOf(stat.own_ticks);
  absl::StatusOr<uint64_t> nanos = clock_(stat.pid);
  if (nanos.ok() || absl::IsNotFound(nanos.status())) return nanos;
  return NanosOf(stat.own_ticks);
}

void ProcessTree::Scan(int root_pid) {
  std::multimap<int, ProcessStat> by_parent;
  std::map<int, Member> found;
  // Start times of all processes.
  std::map<int, uint64_t> starts;
  for (const std::string& name : files_.Directories("/proc")) {
    int pid = 0;
    if (!absl::SimpleAtoi(name, &pid)) continue;
    absl::StatusOr<ProcessStat> stat = ReadStat(files_, pid);
    if (!stat.ok()) continue;
    if (pid == root_pid) found[pid] = {.start_ticks = stat->start_ticks};
    starts[pid] = stat->start_ticks;
    const int parent = stat->parent_pid;
    by_parent.emplace(parent, *std::move(stat));
  }
  const uint64_t root_start = found.empty() ? 0 : found.begin()->second.start_ticks;
  if (root_pid != root_ || root_start != root_start_ticks_) {
    members_.clear();
    has_total_ = false;
    ended_nanos_ = 0;
    owed_nanos_ = 0;
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
  for (const auto& [pid, member] : members_) {
    // An orphan that is no descendant any more takes its time elsewhere.
    const auto running = starts.find(pid);
    const bool runs = running != starts.end() && running->second == member.start_ticks;
    if (!runs) ended_nanos_ += member.own_nanos + member.reaped_nanos;
  }
  members_ = std::move(found);
}

double ProcessTree::CpuSeconds() {
  uint64_t ended = std::exchange(ended_nanos_, 0);
  uint64_t own_growth = 0;
  uint64_t reaped_growth = 0;
  for (auto it = members_.begin(); it != members_.end();) {
    const absl::StatusOr<ProcessStat> stat = ReadStat(files_, it->first);
    Member& member = it->second;
    const bool runs = stat.ok() && stat->start_ticks == member.start_ticks;
    const absl::StatusOr<uint64_t> own =
        runs ? OwnNanos(*stat) : absl::NotFoundError("the process has ended");
    if (!own.ok()) {
      ended += member.own_nanos + member.reaped_nanos;
      it = members_.erase(it);
      continue;
    }
    const uint64_t reaped = NanosOf(stat->reaped_children_ticks);
    if (member.seen || has_total_) {
      own_growth += *own - std::min(*own, member.own_nanos);
      reaped_growth += reaped - std::min(reaped, member.reaped_nanos);
    }
    member.own_nanos = std::max(*own, member.own_nanos);
    member.reaped_nanos = std::max(reaped, member.reaped_nanos);
    member.seen = true;
    ++it;
  }
  const uint64_t owed = owed_nanos_ + ended;
  const uint64_t covered = std::min(owed, reaped_growth);
  counted_nanos_ += own_growth + reaped_growth - covered;
  // A parent may be read just before it reaps a child, and then has its time with the next reading.
  // Beyond rounding, the rest will never be reaped.
  owed_nanos_ = std::min(owed - covered, ended + NanosOf(kRoundedTicksPerParent * members_.size()));
  has_total_ = !members_.empty();
  return static_cast<double>(counted_nanos_) / kNanosPerSecond;
}

}  // namespace trunkline
