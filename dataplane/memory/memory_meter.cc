#include "dataplane/memory/memory_meter.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"
#include "common/cgroup/cgroup_files.h"
#include "common/observe/log.h"
#include "dataplane/memory/memory_group.h"
#include "dataplane/memory/memory_rule.h"

namespace trunkline {
namespace {

// Below this fullness a group's limit cannot matter, so its file pages need not be subtracted.
constexpr double kLooksCloser = 0.7;
// Longer than any of these files.
constexpr size_t kMostFileBytes = 8192;
using Buffer = std::array<char, kMostFileBytes>;

UniqueFd OpenToRead(const std::string& path) {
  return UniqueFd(path.empty() ? -1 : open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// Reads from offset 0, because the kernel then generates the file's contents anew.
absl::string_view ReadInto(Buffer& buffer, const UniqueFd& fd) {
  const ssize_t n = fd ? pread(fd.get(), buffer.data(), buffer.size(), 0) : -1;
  return {buffer.data(), n > 0 ? static_cast<size_t>(n) : 0};
}

int64_t DefaultBudget(const MemoryMeter::Options& options) {
  const int64_t limit =
      options.group ? std::min(options.group->limit_bytes, options.ram_bytes) : options.ram_bytes;
  return static_cast<int64_t>(static_cast<double>(limit) * MemoryMeter::kDefaultShare);
}

int64_t GroupBudget(double limit) {
  const auto least = static_cast<double>(MemoryMeter::kLeastGroupReserveBytes);
  const double reserve = std::max(limit * MemoryMeter::kGroupReserve, std::min(least, limit / 2));
  return static_cast<int64_t>(limit - reserve);
}

}  // namespace

MemoryMeter::MemoryMeter(const Options& options)
    : group_limit_bytes_(options.group ? options.group->limit_bytes : 0),
      budget_bytes_(std::max<int64_t>(
          1, options.budget_bytes > 0 ? options.budget_bytes : DefaultBudget(options))),
      statm_(OpenToRead(options.statm)),
      group_usage_(OpenToRead(options.group ? options.group->usage : "")),
      group_limit_(OpenToRead(options.group ? options.group->limit : "")),
      group_stat_(OpenToRead(options.group ? options.group->stat : "")) {}

MemoryMeter MemoryMeter::OfThisProcess(int64_t budget_bytes) {
  return MemoryMeter({.budget_bytes = budget_bytes,
                      .ram_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE),
                      .group = FindMemoryGroup(SystemFiles(), "self")});
}

std::optional<MemoryMeter::Resident> MemoryMeter::ReadResident() const {
  Buffer buffer;
  // "size resident shared ...", in pages.
  absl::string_view text = ReadInto(buffer, statm_);
  int64_t numbers[3] = {};
  for (int64_t& number : numbers) {
    const size_t space = text.find(' ');
    if (space == text.npos || !absl::SimpleAtoi(text.substr(0, space), &number))
      return std::nullopt;
    text.remove_prefix(space + 1);
  }
  const int64_t page = sysconf(_SC_PAGESIZE);
  return Resident{.bytes = numbers[1] * page,
                  .anonymous_bytes = std::max<int64_t>(0, numbers[1] - numbers[2]) * page};
}

std::optional<MemoryReading> MemoryMeter::ReadGroup() const {
  Buffer buffer;
  const absl::StatusOr<double> usage = ParseMemoryUsage(ReadInto(buffer, group_usage_));
  // Read each time, because the limit may change at run time.
  const absl::StatusOr<double> limit = ParseMemoryLimit(ReadInto(buffer, group_limit_));
  if (!usage.ok() || !limit.ok() || *limit == kNoLimit || *limit <= 0) return std::nullopt;
  return MemoryReading{.used_bytes = static_cast<int64_t>(*usage),
                       .budget_bytes = GroupBudget(*limit)};
}

std::optional<MemoryReading> MemoryMeter::WithoutFilePages(MemoryReading reading,
                                                           const Resident& own) const {
  Buffer buffer;
  const absl::string_view stat = ReadInto(buffer, group_stat_);
  const double file = ParseInactiveFile(stat).value_or(0);
  const double anonymous = ParseAnonymous(stat).value_or(0);
  if (anonymous > 2 * static_cast<double>(own.anonymous_bytes)) return std::nullopt;
  reading.used_bytes = std::max<int64_t>(0, reading.used_bytes - static_cast<int64_t>(file));
  return reading;
}

std::optional<MemoryReading> MemoryMeter::Read(int64_t piped_bytes) const {
  const std::optional<Resident> own = ReadResident();
  if (!own) return std::nullopt;
  const MemoryReading process = {.used_bytes = own->bytes + piped_bytes,
                                 .budget_bytes = budget_bytes_};
  if (!group_usage_) return process;
  std::optional<MemoryReading> group = ReadGroup();
  if (group && group->fullness() > kLooksCloser) group = WithoutFilePages(*group, *own);
  return group && group->fullness() > process.fullness() ? *group : process;
}

std::optional<MemoryReading> MemoryMeter::OfProcess(int64_t piped_bytes) const {
  const std::optional<Resident> own = ReadResident();
  if (!own) return std::nullopt;
  return MemoryReading{.used_bytes = own->bytes + piped_bytes, .budget_bytes = budget_bytes_};
}

std::optional<MemoryReading> MemoryMeter::OfGroup() const {
  const std::optional<Resident> own = ReadResident();
  const std::optional<MemoryReading> group = group_usage_ ? ReadGroup() : std::nullopt;
  if (!own || !group) return std::nullopt;
  return WithoutFilePages(*group, *own);
}

void GiveBackFreeMemory() {
#ifdef __GLIBC__
  static std::atomic_flag busy = ATOMIC_FLAG_INIT;
  if (busy.test_and_set(std::memory_order_acquire)) return;
  malloc_trim(0);
  busy.clear(std::memory_order_release);
#endif
}

void LogMemoryBudget(const MemoryMeter& memory) {
  constexpr int64_t kMebibyte = int64_t{1} << 20;
  const std::string group =
      memory.group_limit_bytes() > 0
          ? absl::StrCat(", control group limit ", memory.group_limit_bytes() / kMebibyte, " MiB")
          : "";
  LogInfo("memory budget {} MiB{}", memory.budget_bytes() / kMebibyte, group);
  const std::optional<MemoryReading> now = memory.Read(0);
  if (now && now->fullness() > MemoryLevel::kGrowthStops / 2) {
    LogWarn(
        "{} MiB of {} MiB of memory are used before the first client, so few clients fit: raise "
        "memory_budget_bytes or the memory limit",
        now->used_bytes / kMebibyte, now->budget_bytes / kMebibyte);
  }
}

}  // namespace trunkline
