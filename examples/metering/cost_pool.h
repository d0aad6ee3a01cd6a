// Threads that spend the CPU time of each reading before it is committed.
//
// The pool has one thread per core that the server may use; admission in MeterService bounds its
// queue. A reading is dropped unprocessed if its connection is gone, or if it waited so long that
// its collector is about to resend it. Otherwise an overloaded server would spend all its time on
// readings that were given up, and never recover.
// Thread-safe. Destruction drops queued readings.
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
    // Half of a collector's timeout, so that a reading begun is still answered in time.
    absl::Duration max_wait = absl::Seconds(1);
    CostModel cost;
  };
  // Called by the pool's threads.
  struct Steps {
    std::function<bool(ConnectionId)> still_open;
    // Receives jobs whose CPU time is spent.
    std::function<void(Job)> processed;
    // Receives jobs that are no longer awaited.
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
