#include "common/observe/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/atomic_file.h"
#include "common/observe/metrics_page.h"

namespace trunkline {
namespace {

// Index of starttime in /proc/self/stat after the ")" that ends the program's name; proc(5) gives
// it number 22.
constexpr size_t kStartTimeAfterName = 19;

std::optional<double> CpuSeconds() {
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::optional<double> ResidentBytes() {
  const auto statm = ReadFile("/proc/self/statm");
  if (!statm.ok()) return std::nullopt;
  const std::vector<absl::string_view> fields = absl::StrSplit(*statm, ' ');
  uint64_t pages = 0;
  if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &pages)) return std::nullopt;
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::optional<double> OpenDescriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return std::nullopt;
  int entries = 0;
  while (readdir(folder) != nullptr) ++entries;
  closedir(folder);
  // The entries include ".", ".." and the descriptor of the directory itself.
  return entries - 3;
}

std::optional<double> DescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

// Returns the boot time of the machine in seconds since 1970.
std::optional<double> BootTime() {
  const auto stat = ReadFile("/proc/stat");
  if (!stat.ok()) return std::nullopt;
  for (const absl::string_view line : absl::StrSplit(*stat, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    double seconds = 0;
    if (fields.size() == 2 && fields[0] == "btime" && absl::SimpleAtod(fields[1], &seconds)) {
      return seconds;
    }
  }
  return std::nullopt;
}

std::optional<double> StartTime() {
  const auto stat = ReadFile("/proc/self/stat");
  const std::optional<double> boot = BootTime();
  if (!stat.ok() || !boot) return std::nullopt;
  const size_t name_end = stat->rfind(") ");
  if (name_end == stat->npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(*stat).substr(name_end + 2), ' ');
  double ticks = 0;
  if (fields.size() <= kStartTimeAfterName ||
      !absl::SimpleAtod(fields[kStartTimeAfterName], &ticks)) {
    return std::nullopt;
  }
  return *boot + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

void AddProcessMetrics(MetricsWriter& writer) {
  if (const auto v = CpuSeconds()) {
    writer.AddCounter("process_cpu_seconds_total", "CPU time of this process", {}, *v);
  }
  const auto gauge = [&](const char* name, const char* help, std::optional<double> v) {
    if (v) writer.AddGauge(name, help, {}, *v);
  };
  gauge("process_resident_memory_bytes", "Resident memory of this process", ResidentBytes());
  gauge("process_open_fds", "File descriptors that this process has open", OpenDescriptors());
  gauge("process_max_fds", "File descriptors that this process may open", DescriptorLimit());
  gauge("process_start_time_seconds", "Start time of this process, in seconds since 1970",
        StartTime());
}

}  // namespace trunkline
