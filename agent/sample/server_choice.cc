#include "agent/sample/server_choice.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"

namespace trunkline {
namespace {

// Bounds a walk up to the first process. Trees of processes are a dozen levels deep.
constexpr int kMaxAncestors = 64;

struct Process {
  int parent = 0;
  uint64_t start_ticks = 0;
  std::string command;
  // The text of /proc/PID/cgroup; empty if it cannot be read.
  std::string groups;
};

class Choice {
 public:
  explicit Choice(const SystemFiles& files) : files_(files) {}

  absl::StatusOr<int> Choose(const std::vector<int>& holders) {
    for (const int pid : holders) {
      if (Read(pid) != nullptr) holders_.insert(pid);
    }
    std::set<int> roots;
    for (const int pid : holders_) roots.insert(OldestSharer(pid));
    DropAncestors(roots);
    if (roots.empty()) return absl::NotFoundError("the process that held it has ended");
    if (const int parent = CommonParent(roots); parent > 0) return parent;
    const int server = *std::min_element(roots.begin(), roots.end(), [this](int a, int b) {
      return Read(a)->start_ticks < Read(b)->start_ticks;
    });
    if (Read(server)->command == "systemd") {
      return absl::NotFoundError("systemd holds it for a service that does not run");
    }
    return server;
  }

 private:
  // Returns null if the process has ended. Reads each process once.
  const Process* Read(int pid) {
    const auto known = processes_.find(pid);
    if (known != processes_.end()) return &known->second;
    const std::string directory = absl::StrCat("/proc/", pid);
    const absl::StatusOr<std::string> text = files_.Read(directory + "/stat");
    if (!text.ok()) return nullptr;
    absl::StatusOr<ProcessStat> stat = ParseProcessStat(*text);
    if (!stat.ok()) return nullptr;
    Process process = {.parent = stat->parent_pid,
                       .start_ticks = stat->start_ticks,
                       .command = std::move(stat->comm),
                       .groups = files_.Read(directory + "/cgroup").value_or("")};
    return &processes_.emplace(pid, std::move(process)).first->second;
  }

  // Rule 1.
  int OldestSharer(int pid) {
    for (int i = 0; i < kMaxAncestors; ++i) {
      const int parent = Read(pid)->parent;
      if (!holders_.contains(parent) || Read(parent)->groups != Read(pid)->groups) break;
      pid = parent;
    }
    return pid;
  }

  // Rule 2.
  void DropAncestors(std::set<int>& roots) {
    const std::set<int> all = roots;
    for (const int root : all) {
      const Process* process = Read(root);
      for (int i = 0; i < kMaxAncestors && process != nullptr && process->parent > 0; ++i) {
        roots.erase(process->parent);
        process = Read(process->parent);
      }
    }
  }

  // Rule 3. Returns 0 if there is none, or only one root. The first process of a host or container
  // is the parent of unrelated programs.
  int CommonParent(const std::set<int>& roots) {
    if (roots.size() < 2) return 0;
    const Process& first = *Read(*roots.begin());
    const Process* const parent = first.parent > 1 ? Read(first.parent) : nullptr;
    if (parent == nullptr || parent->groups != first.groups) return 0;
    const bool common = std::all_of(roots.begin(), roots.end(), [&](int root) {
      return Read(root)->parent == first.parent && Read(root)->groups == first.groups;
    });
    return common ? first.parent : 0;
  }

  const SystemFiles& files_;
  std::set<int> holders_;
  std::map<int, Process> processes_;
};

}  // namespace

absl::StatusOr<int> ChooseServer(const SystemFiles& files, const std::vector<int>& holders) {
  return Choice(files).Choose(holders);
}

}  // namespace trunkline
