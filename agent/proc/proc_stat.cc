#include "agent/proc/proc_stat.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace trunkline {
namespace {

// user nice system idle iowait irq softirq steal; guest time is already part of user and nice.
constexpr size_t kHostFields = 8;
constexpr size_t kIdle = 3;
constexpr size_t kIoWait = 4;
// The fields of Linux 2.4; later kernels write more.
constexpr size_t kMinHostFields = 4;

// Fields of /proc/PID/stat after the ')' of comm, counted from 0; proc(5) numbers them from 3.
constexpr size_t kState = 0;
constexpr size_t kParent = 1;
constexpr size_t kUserTime = 11;
constexpr size_t kSystemTime = 12;
constexpr size_t kChildrenUserTime = 13;
constexpr size_t kChildrenSystemTime = 14;
constexpr size_t kStartTime = 19;

// A larger core number is garbage: kernels are built for at most 8192 cores (NR_CPUS).
constexpr int kMaxCpu = 1 << 16;
static_assert(kMaxCpu > 8192);

absl::Status Bad(absl::string_view file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", what));
}

absl::Status AddTotalLine(absl::string_view rest, HostCpu& cpu) {
  const std::vector<absl::string_view> fields = absl::StrSplit(rest, ' ', absl::SkipEmpty());
  if (fields.size() < kMinHostFields) return Bad("stat", "the cpu line is too short");
  for (size_t i = 0; i < std::min(fields.size(), kHostFields); ++i) {
    uint64_t ticks = 0;
    if (!absl::SimpleAtoi(fields[i], &ticks)) return Bad("stat", "a cpu time is not a number");
    cpu.total_ticks += ticks;
    if (i != kIdle && i != kIoWait) cpu.busy_ticks += ticks;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HostCpu> ParseHostCpu(absl::string_view proc_stat) {
  HostCpu cpu;
  bool seen = false;
  for (absl::string_view line : absl::StrSplit(proc_stat, '\n')) {
    if (!absl::ConsumePrefix(&line, "cpu")) continue;
    if (!line.empty() && absl::ascii_isdigit(static_cast<unsigned char>(line[0]))) {
      ++cpu.cpus;
      continue;
    }
    if (seen) return Bad("stat", "two cpu lines");
    if (absl::Status status = AddTotalLine(line, cpu); !status.ok()) return status;
    seen = true;
  }
  if (!seen || cpu.cpus == 0) return Bad("stat", "no cpu line");
  return cpu;
}

absl::StatusOr<ProcessStat> ParseProcessStat(absl::string_view proc_pid_stat) {
  // comm may contain any bytes, even ") R 1 (", so it ends at the last parenthesis of the file.
  const size_t open = proc_pid_stat.find('(');
  const size_t close = proc_pid_stat.rfind(')');
  if (open == absl::string_view::npos || close == absl::string_view::npos || close < open) {
    return Bad("PID/stat", "no command in parentheses");
  }
  ProcessStat stat;
  if (!absl::SimpleAtoi(proc_pid_stat.substr(0, open), &stat.pid)) {
    return Bad("PID/stat", "no process id");
  }
  stat.comm = std::string(proc_pid_stat.substr(open + 1, close - open - 1));
  const std::vector<absl::string_view> fields =
      absl::StrSplit(proc_pid_stat.substr(close + 1), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  if (fields.size() <= kStartTime) return Bad("PID/stat", "too few fields");
  if (fields[kState].size() != 1) return Bad("PID/stat", "no state letter");
  stat.state = fields[kState][0];
  uint64_t user = 0, system = 0;
  int64_t children_user = 0, children_system = 0;
  if (!absl::SimpleAtoi(fields[kParent], &stat.parent_pid) ||
      !absl::SimpleAtoi(fields[kUserTime], &user) ||
      !absl::SimpleAtoi(fields[kSystemTime], &system) ||
      !absl::SimpleAtoi(fields[kChildrenUserTime], &children_user) ||
      !absl::SimpleAtoi(fields[kChildrenSystemTime], &children_system) ||
      !absl::SimpleAtoi(fields[kStartTime], &stat.start_ticks)) {
    return Bad("PID/stat", "a process id or a time is not a number");
  }
  stat.own_ticks = user + system;
  stat.reaped_children_ticks = static_cast<uint64_t>(std::max<int64_t>(0, children_user)) +
                               static_cast<uint64_t>(std::max<int64_t>(0, children_system));
  return stat;
}

absl::StatusOr<int> CountCpuList(absl::string_view list) {
  int count = 0;
  list = absl::StripAsciiWhitespace(list);
  for (absl::string_view part : absl::StrSplit(list, ',')) {
    const std::pair<absl::string_view, absl::string_view> range =
        absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(range.first, &first))
      return Bad("cpu list", "expected numbers and ranges such as 0-3,8");
    last = first;
    const bool is_range = part.find('-') != absl::string_view::npos;
    if (is_range && !absl::SimpleAtoi(range.second, &last)) {
      return Bad("cpu list", "expected numbers and ranges such as 0-3,8");
    }
    if (first < 0 || last < first || last >= kMaxCpu) return Bad("cpu list", "range out of order");
    count += last - first + 1;
    if (count > kMaxCpu) return Bad("cpu list", "more cores than a kernel can have");
  }
  return count;
}

absl::StatusOr<int> ParseAllowedCpus(absl::string_view proc_pid_status) {
  for (absl::string_view line : absl::StrSplit(proc_pid_status, '\n')) {
    if (absl::ConsumePrefix(&line, "Cpus_allowed_list:")) return CountCpuList(line);
  }
  return Bad("PID/status", "no Cpus_allowed_list");
}

}  // namespace trunkline
