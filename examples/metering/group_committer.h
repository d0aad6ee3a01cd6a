// One thread that commits readings in groups, so that many readings share one wait for the disk.
//
// A group is complete when it has max_group readings or its first has waited max_wait. The next
// group collects while one is written. Outcomes are reported only after the commit. Thread-safe.
// Destruction commits the queued readings.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/timed_condition.h"
#include "examples/metering/job.h"
#include "examples/metering/reading_store.h"

namespace trunkline::metering {

class GroupCommitter {
 public:
  struct Options {
    size_t max_group = 256;
    absl::Duration max_wait = absl::Milliseconds(5);
  };
  struct Committed {
    ConnectionId connection = 0;
    Ack ack;
  };
  // Called on the committing thread after each commit; a failed commit makes all UNAVAILABLE.
  using Sink = std::function<void(const std::vector<Committed>&)>;

  GroupCommitter(Options options, std::unique_ptr<ReadingStore> store, Sink sink);
  ~GroupCommitter();

  void Add(Job job);

 private:
  void Work();
  std::vector<Job> TakeGroup();
  void Commit(const std::vector<Job>& group);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !jobs_.empty(); }
  bool HasFullGroup() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || jobs_.size() >= options_.max_group;
  }

  const Options options_;
  const std::unique_ptr<ReadingStore> store_;
  const Sink sink_;
  absl::Mutex mutex_;
  std::vector<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition changed_;
  std::thread thread_;
};

}  // namespace trunkline::metering
