// Threads that do the work a reading costs, before it is committed.
//
// The pool is as wide as the cores that the server may use; what waits for it is bounded by the
// caller's admission (MeterService). A reading that nobody waits for any more is dropped
// unprocessed: its connection has gone, or it has waited so long that its collector is about to
// send it again. Without that rule an overloaded server spends all its time on readings that were
// given up, and never recovers.
// Thread-safe. Destruction drops what still waits.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "examples/metering/cost_model.h"
#include "examples/metering/job.h"

namespace trunkline::metering {

class CostPool {
 public:
  struct Options {
    int threads = 2;
    // Half of a collector's time-out: what is begun can still be answered in time.
    absl::Duration max_wait = absl::Seconds(1);
    CostModel cost;
  };
  // Called by the pool's threads.
  struct Steps {
    std::function<bool(ConnectionId)> still_open;
    // Takes jobs whose cost is paid.
    std::function<void(Job)> processed;
    // Takes jobs that nobody waits for.
    std::function<void(const Job&)> dropped;
  };

  CostPool(Options options, Steps steps);
  ~CostPool();

  void Add(Job job);

 private:
  void Work();
  bool IsAwaited(const Job& job) const;
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !jobs_.empty(); }

  const Options options_;
  const Steps steps_;
  absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace trunkline::metering
