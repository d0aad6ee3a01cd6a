// Measures the CPU time of one service and the cores that it may use.
//
// The source is a control group if it has a quota, else the server's processes, else the whole
// host. The operator may fix the choice. It is repeated when the server process changes, since a
// restarted server may be in another group. Edge: reads files. Externally synchronized.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "agent/proc/proc_stat.h"
#include "agent/proc/process_tree.h"
#include "agent/sample/cgroup_place.h"
#include "common/base/system_files.h"

namespace trunkline {

enum class CpuChoice { kAuto, kCgroup, kProcesses, kHost };

struct CpuMeterOptions {
  CpuChoice choice = CpuChoice::kAuto;
  std::string cgroup_root = "/sys/fs/cgroup";
  // Below cgroup_root. Empty selects the group of the server's process if known, else the agent's.
  std::string cgroup_path;
  // The server's process; the file is read once per second.
  std::string pid_file;
  int pid = 0;
  // Finds the process id if neither is set. `running` is the process that it found last, while that
  // runs, else 0. Called once per second. The error says why no process is known, and the remedy.
  std::function<absl::StatusOr<int>(int running)> find_server;
  // Replaces the cores of the host or of the process's affinity; 0 for no replacement.
  double limit_cores = 0;
  double ticks_per_second = 100;
  // Reads the CPU time of one process; null counts ticks of /proc.
  ProcessTree::Clock process_clock;
};

class CpuMeter {
 public:
  // `files` outlives the meter.
  CpuMeter(const SystemFiles& files, CpuMeterOptions options);

  // Finds the process, its children and its limits; called once per second. When the source, its
  // group or the process is chosen or changes, returns a sentence for the log with the choice and
  // its reason.
  std::optional<std::string> Refresh();

  // Returns cumulative CPU seconds of the source; called many times per second. Restarts from a
  // lower value when the source changes. The error names what cannot be read: a source that cannot
  // be read is unknown, not idle.
  absl::StatusOr<double> CpuSeconds();

  // "cgroup v1", "cgroup v2", "cgroup" while the configured one is missing, "processes", "host".
  const std::string& source() const { return source_; }
  // Returns true if CpuSeconds reads a control group.
  bool reads_group() const { return chosen_ == CpuChoice::kCgroup; }
  // Cores that the service may use; > 0.
  double cores() const { return cores_; }
  // "pid@start time" of the server process; empty while unknown.
  const std::string& server_boot_id() const { return server_boot_id_; }
  // The control groups of the server, or of the agent if the server process is not named; nullptr
  // if there are none.
  const CgroupPlace* place() const { return place_.has_value() ? &*place_ : nullptr; }

 private:
  struct Choice {
    CpuChoice choice;
    std::string reason;
  };

  // Returns true if a process was configured or found. The agent's own group then does not describe
  // the server.
  bool Named() const;
  absl::StatusOr<int> CandidatePid() const;
  // Returns the state of a process, or an error if there is no such process.
  absl::StatusOr<ProcessStat> StatOf(int pid) const;
  // Parts of the log's sentence: the server beside a clause about the group, and whose group place_
  // is.
  std::string Explain(const std::string& group) const;
  std::string GroupName() const;
  void FindProcess();
  void FindPlace();
  Choice Choose();
  // Returns why the group's use cannot be read, or OK.
  absl::Status GroupUsable() const;
  double CoresFor(CpuChoice choice) const;
  // Returns the cores of the process's affinity, or those of the host if it cannot be read.
  double AllowedCores() const;

  const SystemFiles& files_;
  const CpuMeterOptions options_;
  // 0 if unknown or ended.
  int pid_ = 0;
  // Why pid_ is 0.
  absl::Status no_process_;
  std::string server_boot_id_;
  std::optional<CgroupPlace> place_;
  std::string place_error_;
  // The path or process that place_ was found for.
  std::string place_of_;
  // "process postgres (70)", for the log.
  std::string server_name_;
  ProcessTree tree_;
  CpuChoice chosen_ = CpuChoice::kAuto;
  std::string source_ = "host";
  double cores_ = 1;
  // The source, its group and the process that were logged last.
  std::string logged_;
};

}  // namespace trunkline
