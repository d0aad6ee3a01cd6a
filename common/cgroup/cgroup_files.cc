#include "common/cgroup/cgroup_files.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace trunkline {
namespace {

// Version 1 expresses "no limit" as the largest page count times the page size, 2^63 less one page,
// whose size depends on the machine. No machine has an exbibyte of memory.
constexpr uint64_t kV1NoLimitBytes = uint64_t{1} << 60;

absl::StatusOr<uint64_t> Number(absl::string_view file, absl::string_view text) {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &value)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a number"));
  }
  return value;
}

// Returns the value of the line "key 123".
absl::StatusOr<uint64_t> KeyedNumber(absl::string_view file, absl::string_view text,
                                     absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, key) && absl::StartsWith(line, " ")) return Number(file, line);
  }
  return absl::NotFoundError(absl::StrCat(file, ": no ", key));
}

// Version 1 reports the group's own pages as inactive_file, for example, and those of its subtree,
// which its usage covers, as total_inactive_file. In version 2 inactive_file covers the subtree.
absl::StatusOr<double> OfSubtree(absl::string_view memory_stat, absl::string_view version1,
                                 absl::string_view version2) {
  absl::StatusOr<uint64_t> bytes = KeyedNumber("memory.stat", memory_stat, version1);
  if (absl::IsNotFound(bytes.status())) {
    bytes = KeyedNumber("memory.stat", memory_stat, version2);
  }
  if (!bytes.ok()) return bytes.status();
  return static_cast<double>(*bytes);
}

absl::StatusOr<double> Cores(absl::string_view file, uint64_t quota_us, uint64_t period_us) {
  if (quota_us == 0 || period_us == 0) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": a quota or period of zero"));
  }
  return static_cast<double>(quota_us) / static_cast<double>(period_us);
}

}  // namespace

absl::StatusOr<double> ParseCpuMax(absl::string_view cpu_max) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::StripAsciiWhitespace(cpu_max), ' ', absl::SkipEmpty());
  if (fields.empty() || fields.size() > 2) {
    return absl::InvalidArgumentError("cpu.max: expected \"quota period\"");
  }
  if (fields[0] == "max") return kNoLimit;
  // By the kernel's documentation a quota alone keeps the period, whose default is 100 ms.
  const absl::StatusOr<uint64_t> quota = Number("cpu.max", fields[0]);
  if (!quota.ok()) return quota.status();
  const absl::StatusOr<uint64_t> period =
      Number("cpu.max", fields.size() == 2 ? fields[1] : "100000");
  if (!period.ok()) return period.status();
  return Cores("cpu.max", *quota, *period);
}

absl::StatusOr<double> ParseCfsQuota(absl::string_view quota_us, absl::string_view period_us) {
  if (absl::StripAsciiWhitespace(quota_us) == "-1") return kNoLimit;
  const absl::StatusOr<uint64_t> quota = Number("cpu.cfs_quota_us", quota_us);
  if (!quota.ok()) return quota.status();
  const absl::StatusOr<uint64_t> period = Number("cpu.cfs_period_us", period_us);
  if (!period.ok()) return period.status();
  return Cores("cpu.cfs_quota_us", *quota, *period);
}

absl::StatusOr<double> ParseCpuStatSeconds(absl::string_view cpu_stat) {
  const absl::StatusOr<uint64_t> usec = KeyedNumber("cpu.stat", cpu_stat, "usage_usec");
  if (!usec.ok()) return usec.status();
  return static_cast<double>(*usec) * 1e-6;
}

absl::StatusOr<double> ParseCpuacctSeconds(absl::string_view cpuacct_usage) {
  const absl::StatusOr<uint64_t> nanos = Number("cpuacct.usage", cpuacct_usage);
  if (!nanos.ok()) return nanos.status();
  return static_cast<double>(*nanos) * 1e-9;
}

absl::StatusOr<CpuThrottling> ParseCpuThrottling(absl::string_view cpu_stat) {
  const absl::StatusOr<uint64_t> periods = KeyedNumber("cpu.stat", cpu_stat, "nr_periods");
  if (!periods.ok()) return periods.status();
  const absl::StatusOr<uint64_t> throttled = KeyedNumber("cpu.stat", cpu_stat, "nr_throttled");
  if (!throttled.ok()) return throttled.status();
  CpuThrottling throttling = {.periods = static_cast<double>(*periods),
                              .throttled_periods = static_cast<double>(*throttled)};
  const absl::StatusOr<uint64_t> usec = KeyedNumber("cpu.stat", cpu_stat, "throttled_usec");
  if (usec.ok()) {
    throttling.throttled_seconds = static_cast<double>(*usec) * 1e-6;
    return throttling;
  }
  if (!absl::IsNotFound(usec.status())) return usec.status();
  const absl::StatusOr<uint64_t> nanos = KeyedNumber("cpu.stat", cpu_stat, "throttled_time");
  if (!nanos.ok()) return nanos.status();
  throttling.throttled_seconds = static_cast<double>(*nanos) * 1e-9;
  return throttling;
}

absl::StatusOr<double> ParseMemoryLimit(absl::string_view text) {
  if (absl::StripAsciiWhitespace(text) == "max") return kNoLimit;
  const absl::StatusOr<uint64_t> bytes = Number("memory limit", text);
  if (!bytes.ok()) return bytes.status();
  if (*bytes >= kV1NoLimitBytes) return kNoLimit;
  return static_cast<double>(*bytes);
}

absl::StatusOr<double> ParseMemoryUsage(absl::string_view text) {
  const absl::StatusOr<uint64_t> bytes = Number("memory usage", text);
  if (!bytes.ok()) return bytes.status();
  return static_cast<double>(*bytes);
}

absl::StatusOr<double> ParseInactiveFile(absl::string_view memory_stat) {
  return OfSubtree(memory_stat, "total_inactive_file", "inactive_file");
}

absl::StatusOr<double> ParseAnonymous(absl::string_view memory_stat) {
  return OfSubtree(memory_stat, "total_rss", "anon");
}

}  // namespace trunkline
