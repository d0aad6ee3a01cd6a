#include "agent/sample/cpu_meter.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "agent/proc/proc_stat.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {

namespace {

constexpr size_t kMaxQuotedBytes = 40;

// The first line has the process id; PostgreSQL's postmaster.pid has seven more.
absl::StatusOr<int> ParsePidFile(const std::string& path, absl::string_view text) {
  const absl::string_view line = text.substr(0, text.find('\n'));
  int pid = 0;
  if (absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &pid) && pid > 0) return pid;
  return absl::InvalidArgumentError(
      absl::StrCat("pid_file: the first line of ", path, " is no process id: \"",
                   absl::CHexEscape(line.substr(0, kMaxQuotedBytes)), "\""));
}

// The kernel reuses process ids; with its start time an id is unique.
std::string BootId(const ProcessStat& stat) {
  return absl::StrCat(stat.pid, "@", stat.start_ticks);
}

}  // namespace

CpuMeter::CpuMeter(const SystemFiles& files, CpuMeterOptions options)
    : files_(files),
      options_(std::move(options)),
      tree_(files, options_.ticks_per_second, options_.process_clock) {}

bool CpuMeter::Named() const {
  return options_.pid > 0 || !options_.pid_file.empty() || !server_boot_id_.empty();
}

absl::StatusOr<int> CpuMeter::CandidatePid() const {
  if (!options_.pid_file.empty()) {
    const absl::StatusOr<std::string> text = files_.Read(options_.pid_file);
    if (!text.ok()) return absl::NotFoundError(absl::StrCat("pid_file: ", text.status().message()));
    return ParsePidFile(options_.pid_file, *text);
  }
  if (options_.pid > 0) return options_.pid;
  if (!options_.find_server) return absl::NotFoundError("the server's process is not known");
  const absl::StatusOr<ProcessStat> known = StatOf(pid_);
  return options_.find_server(known.ok() && BootId(*known) == server_boot_id_ ? pid_ : 0);
}

absl::StatusOr<ProcessStat> CpuMeter::StatOf(int pid) const {
  if (pid <= 0) return absl::NotFoundError("no process");
  const absl::StatusOr<std::string> text = files_.Read(absl::StrCat("/proc/", pid, "/stat"));
  return text.ok() ? ParseProcessStat(*text) : text.status();
}

void CpuMeter::FindProcess() {
  const absl::StatusOr<int> pid = CandidatePid();
  const absl::StatusOr<ProcessStat> stat = pid.ok() ? StatOf(*pid) : pid.status();
  pid_ = stat.ok() ? *pid : 0;
  no_process_ = pid.ok() ? absl::NotFoundError(absl::StrCat("process ", *pid, " does not run"))
                         : pid.status();
  // While the server is down, it keeps its last identity.
  if (!stat.ok()) return;
  server_boot_id_ = BootId(*stat);
  server_name_ = absl::StrCat("process ", absl::CHexEscape(stat->comm), " (", pid_, ")");
}

void CpuMeter::FindPlace() {
  const bool named = Named();
  if (options_.cgroup_path.empty() && named && pid_ == 0 && server_boot_id_.empty()) {
    place_.reset();
    place_error_ = "the server's process is not running";
    return;
  }
  const std::string of = !options_.cgroup_path.empty() ? options_.cgroup_path
                         : named                       ? server_boot_id_
                                                       : "self";
  if (place_.has_value() && of == place_of_ && files_.Exists(place_->directory())) return;
  place_of_ = of;
  absl::StatusOr<CgroupPlace> place =
      !options_.cgroup_path.empty()
          ? CgroupPlace::OfPath(files_, options_.cgroup_root, options_.cgroup_path)
          : CgroupPlace::OfProcess(files_, options_.cgroup_root,
                                   named ? absl::StrCat(pid_) : std::string("self"));
  place_.reset();
  place_error_.clear();
  if (place.ok()) {
    place_ = *std::move(place);
  } else {
    place_error_ = std::string(place.status().message());
  }
}

absl::Status CpuMeter::GroupUsable() const {
  if (!place_.has_value()) return absl::NotFoundError(place_error_);
  return place_->CpuSeconds(files_).status();
}

std::string CpuMeter::Explain(const std::string& group) const {
  if (!Named()) {
    return absl::StrCat(group, "; the server's process is not known: ", no_process_.message());
  }
  const std::string server = pid_ > 0
                                 ? absl::StrCat("the server is ", server_name_)
                                 : absl::StrCat("the server does not run: ", no_process_.message());
  return absl::StrCat(server, ", and ", group);
}

std::string CpuMeter::GroupName() const {
  const char* const whose = !options_.cgroup_path.empty() ? "the configured group "
                            : Named()                     ? "its group "
                                                          : "the agent's own group ";
  return absl::StrCat(whose, place_.has_value() ? place_->directory() : "");
}

CpuMeter::Choice CpuMeter::Choose() {
  const absl::Status usable = GroupUsable();
  const double quota = place_.has_value() ? place_->CpuQuota(files_) : kNoLimit;
  if (options_.choice == CpuChoice::kCgroup) {
    const std::string group =
        usable.ok() ? GroupName()
                    : absl::StrCat("it cannot be used: ", std::string(usable.message()));
    return {CpuChoice::kCgroup, absl::StrCat("as configured: ", Explain(group))};
  }
  if (options_.choice == CpuChoice::kProcesses) {
    return {CpuChoice::kProcesses,
            pid_ > 0 ? absl::StrCat("as configured: the server is ", server_name_)
                     : absl::StrCat("as configured, but ", no_process_.message())};
  }
  if (options_.choice == CpuChoice::kHost) return {CpuChoice::kHost, "as configured"};
  if (usable.ok() && quota != kNoLimit) {
    return {CpuChoice::kCgroup,
            Explain(absl::StrFormat("%s has a quota of %.2f cores", GroupName(), quota))};
  }
  const std::string no_quota =
      usable.ok() ? absl::StrCat(GroupName(), " has no quota")
                  : absl::StrCat("no usable cgroup: ", std::string(usable.message()));
  return {Named() ? CpuChoice::kProcesses : CpuChoice::kHost, Explain(no_quota)};
}

double CpuMeter::AllowedCores() const {
  const std::string process = pid_ > 0 ? absl::StrCat(pid_) : "self";
  const absl::StatusOr<std::string> status =
      files_.Read(absl::StrCat("/proc/", process, "/status"));
  if (status.ok()) {
    const absl::StatusOr<int> allowed = ParseAllowedCpus(*status);
    if (allowed.ok()) return *allowed;
  }
  const absl::StatusOr<std::string> stat = files_.Read("/proc/stat");
  if (!stat.ok()) return 1;
  const absl::StatusOr<HostCpu> host = ParseHostCpu(*stat);
  return host.ok() ? host->cpus : 1;
}

double CpuMeter::CoresFor(CpuChoice choice) const {
  if (choice != CpuChoice::kCgroup && options_.limit_cores > 0) return options_.limit_cores;
  const double quota = place_.has_value() ? place_->CpuQuota(files_) : kNoLimit;
  const double cpuset = place_.has_value() ? place_->CpusetCores(files_) : kNoLimit;
  if (choice == CpuChoice::kCgroup) {
    // Processes of a configured path may have other affinities than the agent.
    const double allowed =
        !options_.cgroup_path.empty() && cpuset != kNoLimit ? cpuset : AllowedCores();
    return std::min({quota, cpuset, allowed});
  }
  if (choice == CpuChoice::kProcesses) return std::min({quota, cpuset, AllowedCores()});
  const absl::StatusOr<std::string> stat = files_.Read("/proc/stat");
  const absl::StatusOr<HostCpu> host = stat.ok() ? ParseHostCpu(*stat) : stat.status();
  return host.ok() ? host->cpus : 1;
}

std::optional<std::string> CpuMeter::Refresh() {
  FindProcess();
  // A server that is down keeps its last limits: its control group is gone, and the host's limits
  // would report a far larger server to the controller.
  const bool down = pid_ == 0 && !server_boot_id_.empty();
  if (down && options_.cgroup_path.empty()) return std::nullopt;
  FindPlace();
  const Choice choice = Choose();
  if (choice.choice == CpuChoice::kProcesses) tree_.Scan(pid_);
  cores_ = CoresFor(choice.choice);
  const std::string source = choice.choice == CpuChoice::kCgroup
                                 ? (place_.has_value() ? place_->version() : "cgroup")
                             : choice.choice == CpuChoice::kProcesses ? "processes"
                                                                      : "host";
  chosen_ = choice.choice;
  source_ = source;
  std::string logged = absl::StrCat(source_, " ", place_.has_value() ? place_->directory() : "",
                                    " ", server_boot_id_);
  if (std::exchange(logged_, logged) == logged) return std::nullopt;
  return absl::StrFormat("CPU is read from %s (%.2f cores): %s", source_, cores_, choice.reason);
}

absl::StatusOr<double> CpuMeter::CpuSeconds() {
  if (chosen_ == CpuChoice::kCgroup) {
    if (!place_.has_value()) return absl::NotFoundError(place_error_);
    return place_->CpuSeconds(files_);
  }
  if (chosen_ == CpuChoice::kProcesses) {
    if (pid_ == 0) return no_process_;
    return tree_.CpuSeconds();
  }
  const absl::StatusOr<std::string> text = files_.Read("/proc/stat");
  if (!text.ok()) return text.status();
  const absl::StatusOr<HostCpu> host = ParseHostCpu(*text);
  if (!host.ok()) return host.status();
  return static_cast<double>(host->busy_ticks) / options_.ticks_per_second;
}

}  // namespace trunkline
