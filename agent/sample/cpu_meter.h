// How much CPU one service uses of what it may use, and where that is read from.
//
// A control group with a quota is the truth about both; without one, the server's processes are;
// without either, the whole host is all that can be seen. The choice is the operator's or
// automatic, and is made again when the server process changes, because a restarted server can be
// in another group. Edge: reads files. Externally synchronized.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "agent/proc/process_tree.h"
#include "agent/sample/cgroup_place.h"
#include "common/base/system_files.h"

namespace trunkline {

enum class CpuChoice { kAuto, kCgroup, kProcesses, kHost };

struct CpuMeterOptions {
  CpuChoice choice = CpuChoice::kAuto;
  std::string cgroup_root = "/sys/fs/cgroup";
  // Below cgroup_root; empty: the group of the server's process when one is named, else the
  // agent's.
  std::string cgroup_path;
  // Of the server; the file is read again each second.
  std::string pid_file;
  int pid = 0;
  // Where neither is given: asks for the process id, 0 when unknown. Called only while no live
  // process is known.
  std::function<int()> find_server;
  // Takes the place of the cores that the host has or the process may run on; 0: none.
  double limit_cores = 0;
  double ticks_per_second = 100;
};

class CpuMeter {
 public:
  // `files` outlives the meter.
  CpuMeter(const SystemFiles& files, CpuMeterOptions options);

  // Once a second: looks for the process and its children and for limits. When the source is chosen
  // for the first time or changes, a sentence that says what was chosen and why, for the log.
  std::optional<std::string> Refresh();

  // Many times a second: cumulative CPU seconds from the source. Begins again (falls) when the
  // source changes.
  absl::StatusOr<double> CpuSeconds();

  // "cgroup v1", "cgroup v2", "processes", "host".
  const std::string& source() const { return source_; }
  // What the service may use; > 0.
  double cores() const { return cores_; }
  // The server's process id and start time; empty while unknown.
  const std::string& server_boot_id() const { return server_boot_id_; }
  // The groups of the server, or of the agent where the server is not named; nullptr where there
  // are none.
  const CgroupPlace* place() const { return place_.has_value() ? &*place_ : nullptr; }

 private:
  struct Choice {
    CpuChoice choice;
    std::string reason;
  };

  // Whether a process was configured or found: then the agent's own group says nothing of the
  // server.
  bool Named() const;
  int CandidatePid() const;
  // "pid@start"; empty when there is no such process.
  std::string BootId(int pid) const;
  void FindProcess();
  void FindPlace();
  Choice Choose();
  // Whether the group's use can be read; else why not.
  absl::Status GroupUsable() const;
  double CoresFor(CpuChoice choice) const;
  // By affinity; the host's where the process cannot be read.
  double AllowedCores() const;

  const SystemFiles& files_;
  const CpuMeterOptions options_;
  // 0: unknown or gone.
  int pid_ = 0;
  std::string server_boot_id_;
  std::optional<CgroupPlace> place_;
  std::string place_error_;
  // Of what place_ was found for.
  std::string place_of_;
  ProcessTree tree_;
  CpuChoice chosen_ = CpuChoice::kAuto;
  std::string source_ = "host";
  double cores_ = 1;
};

}  // namespace trunkline
