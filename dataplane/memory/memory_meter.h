// Measures the memory that the proxy uses, against its limits.
//
// Two limits can end a growing process, and the one that is closer counts:
// - The budget (configured, or four fifths of the RAM or of the control group's limit) is compared
//   with the process's resident memory, trunkline_process_resident_memory_bytes, plus the bytes
//   that it has in pipes.
// - The control group's limit, less a reserve (a tenth, at least 8 MiB), is compared with the
//   group's usage, as the OOM killer does. It includes the kernel's memory for every client, but
//   not the file pages that the kernel reclaims first. A group whose memory belongs mostly to other
//   processes says nothing about this one and is ignored.
//
// Memory that was freed but retained by malloc counts as used, for the kernel as well;
// GiveBackFreeMemory returns it.
//
// Keeps its files open, so that it works when no descriptor is left. Immutable and thread-safe.
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
  // Reserves memory for growth between two readings. Some megabytes may be in flight whatever the
  // limit is.
  static constexpr double kGroupReserve = 0.1;
  static constexpr int64_t kLeastGroupReserveBytes = 8 << 20;

  struct Options {
    int64_t budget_bytes = 0;  // 0: kDefaultShare of the group's limit or of the RAM
    int64_t ram_bytes = 0;
    std::optional<MemoryGroup> group;
    std::string statm = "/proc/self/statm";
  };
  explicit MemoryMeter(const Options& options);
  // Measures this process on this machine.
  static MemoryMeter OfThisProcess(int64_t budget_bytes);

  // Returns the reading against the closer limit, or nullopt if memory cannot be read.
  std::optional<MemoryReading> Read(int64_t piped_bytes) const;
  // Return the reading against one of the limits, or nullopt if there is no such limit.
  std::optional<MemoryReading> OfProcess(int64_t piped_bytes) const;
  std::optional<MemoryReading> OfGroup() const;

  int64_t budget_bytes() const { return budget_bytes_; }
  // Limit of the control group. 0: no limit.
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

// Returns the memory that malloc has retained to the kernel. Callable from any thread; if a call is
// in progress on another thread, it returns at once.
void GiveBackFreeMemory();

// Logs the budget, and a warning if much of it is in use before the first client.
void LogMemoryBudget(const MemoryMeter& memory);

}  // namespace trunkline
