// How many connections the servers' ports have, asked of the kernel by a thread that gives way to
// every other.
//
// The kernel walks all sockets of the host for that, those in TIME_WAIT too, and a hundred thousand
// of them take it tens of milliseconds: time in which a worker on the same core carries nothing. So
// all ports are asked for at once, and not by the sampling thread, whose clock must not be late
// either. Edge. Thread-safe.
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
#include "agent/connection_bytes.h"
#include "agent/sock_diag.h"
#include "common/clock.h"

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
  // kLongestPeriod.
  static constexpr int kTimeBetweenOverCost = 200;
  static constexpr absl::Duration kLongestPeriod = absl::Seconds(10);

  // As DumpSockets.
  using Dump = std::function<absl::StatusOr<SocketDump>(const std::vector<uint16_t>& ports)>;

  // The first kMaxDumpPorts of them are watched.
  PortWatch(std::vector<uint16_t> ports, Dump dump);
  ~PortWatch() { Stop(); }

  // From here to Stop it looks by itself. Called once; with no ports there is no thread.
  void Start();
  void Stop();

  // Asks for every port; how long the kernel is to be left alone then. For Start's thread and for
  // tests. What cannot be asked stays as it is known.
  absl::Duration Look(MonotonicTime now);

  // None before the first look and for a port that is not watched.
  std::optional<PortCount> Latest(uint16_t port) const;

 private:
  void Run();

  std::vector<uint16_t> ports_;
  const Dump dump_;
  std::map<uint16_t, ConnectionBytes> bytes_;  // of whoever looks

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint16_t, PortCount> latest_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace trunkline
