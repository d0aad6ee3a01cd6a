// How many connections the servers' ports have, asked of the kernel by a thread that gives way to
// every other.
//
// The kernel walks all sockets of the host for that, those in TIME_WAIT too, and a hundred thousand
// of them take it tens of milliseconds: time in which a worker on the same core carries nothing. So
// all ports are asked for at once, and not by the sampling thread, whose clock must not be late
// either. Where it costs much it is done rarely, unless the host's sockets have become more or
// fewer since: to count those costs nothing. Edge. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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

namespace trunkline {

struct PortCount {
  MonotonicTime at;
  uint32_t established = 0;
  // Both ways since the first look; see ConnectionBytes.
  uint64_t bytes = 0;
};

class PortWatch {
 public:
  static constexpr absl::Duration kPeriod = absl::Seconds(1);
  // What looks may take of a core is one part in so many, unless they would be further apart than
  // `longest`.
  struct Pace {
    int time_between_over_cost;
    absl::Duration longest;
  };
  static constexpr Pace kCalm = {1000, absl::Minutes(1)};
  static constexpr Pace kChanged = {200, absl::Seconds(10)};
  // As many sockets more or fewer are a change: this part of the smallest limit that a service has,
  // since against that they are weighed. Without limits: that part of all, and no few.
  static constexpr uint64_t kLimitOverChange = 8;
  static constexpr uint64_t kSocketsOverChange = 4;
  static constexpr uint64_t kFewSockets = 1000;

  // As DumpSockets.
  using Dump = std::function<absl::StatusOr<SocketDump>(const std::vector<uint16_t>& ports)>;

  // The first kMaxDumpPorts of `ports` are watched. `smallest_limit` of connections; 0: none has
  // one. `files` outlives it.
  PortWatch(const SystemFiles& files, std::vector<uint16_t> ports, uint64_t smallest_limit,
            Dump dump);
  ~PortWatch() { Stop(); }

  // From here to Stop it looks by itself. Called once; with no ports there is no thread.
  void Start();
  void Stop();

  // For Start's thread and for tests: whether it is time to look again.
  bool Due(MonotonicTime now) const;
  // Asks for every port. What cannot be asked stays as it is known.
  void Look(MonotonicTime now);

  // None before the first look and for a port that is not watched.
  std::optional<PortCount> Latest(uint16_t port) const;

 private:
  void Run();
  // Of the host; none where it does not tell.
  std::optional<uint64_t> SocketsInUse() const;
  // Against what was in use at the last look.
  uint64_t ChangeThatMatters(uint64_t in_use) const;

  const SystemFiles& files_;
  std::vector<uint16_t> ports_;
  const uint64_t smallest_limit_;
  const Dump dump_;
  // Of whoever looks.
  std::map<uint16_t, ConnectionBytes> bytes_;
  std::optional<MonotonicTime> looked_at_;
  absl::Duration cost_;
  std::optional<uint64_t> sockets_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint16_t, PortCount> latest_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace trunkline
