// How much memory the proxy uses, and of how much.
//
// Two limits end a process that grows, and the one that is nearer counts:
//   - the budget (configured, or four fifths of what there is), against what this process has in
//     RAM, trunkline_process_resident_memory_bytes, and what it has put into pipes;
//   - the control group's limit less a reserve (a tenth, 8 MiB at least), against what the group
//     has, which is what the OOM killer goes by: the kernel's part of every client is in it, the
//     file pages that it takes back first are not. A group of which most belongs to others says
//     nothing about us.
// Memory that was freed but is kept by malloc is used memory to the kernel, and so to us;
// GiveBackFreeMemory returns it.
//
// It keeps its files open, and so needs no descriptor when none is left. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/unique_fd.h"
#include "dataplane/memory/memory_group.h"
#include "dataplane/memory/memory_rule.h"

namespace trunkline {

class MemoryMeter {
 public:
  static constexpr double kDefaultShare = 0.8;
  // For what comes between two looks. Some megabytes may be in flight whatever the limit is.
  static constexpr double kGroupReserve = 0.1;
  static constexpr int64_t kLeastGroupReserveBytes = 8 << 20;

  struct Options {
    int64_t budget_bytes = 0;  // 0: kDefaultShare of the group's limit or of all RAM
    int64_t ram_bytes = 0;
    std::optional<MemoryGroup> group;
    std::string statm = "/proc/self/statm";
  };
  explicit MemoryMeter(const Options& options);
  // This process on this machine.
  static MemoryMeter OfThisProcess(int64_t budget_bytes);

  // The limit that is nearer. None: unreadable.
  std::optional<MemoryReading> Read(int64_t piped_bytes) const;
  // Each by itself; none where there is no such limit.
  std::optional<MemoryReading> OfProcess(int64_t piped_bytes) const;
  std::optional<MemoryReading> OfGroup() const;

  int64_t budget_bytes() const { return budget_bytes_; }
  // Of the control group; 0: none.
  int64_t group_limit_bytes() const { return group_limit_bytes_; }

 private:
  struct Resident {
    int64_t bytes = 0;
    int64_t anonymous_bytes = 0;
  };
  std::optional<Resident> ReadResident() const;
  std::optional<MemoryReading> ReadGroup() const;
  std::optional<MemoryReading> WithoutFilePages(MemoryReading reading, const Resident& own) const;

  const int64_t group_limit_bytes_;
  const int64_t budget_bytes_;
  const UniqueFd statm_;
  const UniqueFd group_usage_;
  const UniqueFd group_limit_;
  const UniqueFd group_stat_;
};

// To the kernel, whatever malloc keeps of what was freed. From any thread; while one is at it,
// others return at once.
void GiveBackFreeMemory();

// Logs the budget, and a warning if much of it is used before the first client.
void LogMemoryBudget(const MemoryMeter& memory);

}  // namespace trunkline
