// Counts the connections of the servers' ports with socket dumps, on a thread that yields to all
// others.
//
// For a dump the kernel visits all sockets of the host, including TIME_WAIT. A hundred thousand
// sockets take tens of milliseconds, in which a worker on the same core forwards nothing. One dump
// therefore covers all ports, and it runs on its own thread, so that samples are not late either.
// Expensive dumps are rare, unless the number of the host's sockets has changed, which is cheap to
// read. Edge. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/proc/sock_diag.h"
#include "agent/sample/connection_bytes.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"
#include "common/base/timed_condition.h"

namespace trunkline {

struct PortCount {
  MonotonicTime at;
  uint32_t established = 0;
  // In both directions since the first dump; see ConnectionBytes.
  uint64_t bytes = 0;
};

class PortWatch {
 public:
  static constexpr absl::Duration kPeriod = absl::Seconds(1);
  // Dumps take one part in `time_between_over_cost` of a core, unless they would be further apart
  // than `longest`.
  struct Pace {
    int time_between_over_cost;
    absl::Duration longest;
  };
  static constexpr Pace kCalm = {1000, absl::Minutes(1)};
  static constexpr Pace kChanged = {200, absl::Seconds(10)};
  static_assert(kChanged.time_between_over_cost < kCalm.time_between_over_cost &&
                kPeriod <= kChanged.longest && kChanged.longest < kCalm.longest);
  // A dump is due early if the number of sockets changed by an eighth of the smallest connection
  // limit, which utilization refers to. Without limits, by a quarter and by at least 1,000.
  static constexpr uint64_t kLimitOverChange = 8;
  static constexpr uint64_t kSocketsOverChange = 4;
  static constexpr uint64_t kFewSockets = 1000;

  // DumpSockets, or a test's dump.
  using Dump = std::function<absl::StatusOr<SocketDump>(const std::vector<uint16_t>& ports)>;

  // Watches the first kMaxDumpPorts of `ports`. `smallest_limit` is the smallest connection limit
  // of the services, or 0 if none has a limit. `files` outlives the watch.
  PortWatch(const SystemFiles& files, std::vector<uint16_t> ports, uint64_t smallest_limit,
            Dump dump);
  ~PortWatch() { Stop(); }

  // Starts the thread that dumps sockets until Stop, unless there are no ports. Called once.
  void Start();
  void Stop();

  // Returns whether the next dump is due. Called by the thread and by tests.
  bool Due(MonotonicTime now) const;
  // Dumps the sockets of every port. A failed dump keeps the last counts and sets the error.
  void Update(MonotonicTime now);

  // Returns nullopt before the first dump and for a port that is not watched.
  std::optional<PortCount> Latest(uint16_t port) const;
  // Returns why the last dump failed, or "".
  std::string Error() const;

 private:
  void Run();
  // TCP sockets of the host; nullopt if /proc does not list their number.
  std::optional<uint64_t> SocketsInUse() const;
  // The change of `in_use` since the last dump that makes the next one due early.
  uint64_t ChangeThatMatters(uint64_t in_use) const;

  const SystemFiles& files_;
  std::vector<uint16_t> ports_;
  const uint64_t smallest_limit_;
  const Dump dump_;
  // Confined to the thread that calls Due and Update.
  std::map<uint16_t, ConnectionBytes> bytes_;
  std::optional<MonotonicTime> dumped_at_;
  absl::Duration cost_;
  std::optional<uint64_t> sockets_;

  mutable absl::Mutex mutex_;
  std::string error_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition stopped_;
  std::map<uint16_t, PortCount> latest_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace trunkline
