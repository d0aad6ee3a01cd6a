// Waits for a condition under an absl::Mutex, with a timeout by the monotonic clock.
//
// absl's own timed waits end at a time of the wall clock with the libraries of Debian 12: after a
// step back by a minute, a wait of a second takes a minute longer. All timed waits of ours go
// through this class or std::condition_variable::wait_for. Thread-safe.
#pragma once

#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace trunkline {

class TimedCondition {
 public:
  // Releases `mutex`, which the caller holds, until `condition` is true or `timeout` is over.
  // Returns whether it is true. `mutex` is held again afterwards. Unlike absl::Mutex::Await, it
  // evaluates `condition` only after NotifyAll.
  bool AwaitFor(absl::Mutex& mutex, absl::Duration timeout, const absl::Condition& condition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // Called after a change that may make the condition of a waiter true, while `mutex` is held.
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable_any changed_;
};

}  // namespace trunkline
