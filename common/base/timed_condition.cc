#include "common/base/timed_condition.h"

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace trunkline {
namespace {

// Keeps the deadline within the range of the clock.
constexpr absl::Duration kLongestWait = absl::Hours(24 * 365);

// The standard's names for an absl::Mutex.
struct Lockable {
  absl::Mutex& mutex;
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex.Lock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex.Unlock(); }
};

}  // namespace

bool TimedCondition::AwaitFor(absl::Mutex& mutex, absl::Duration timeout,
                              const absl::Condition& condition) {
  Lockable lockable{mutex};
  const auto wait = absl::ToChronoNanoseconds(std::min(timeout, kLongestWait));
  return changed_.wait_for(lockable, wait, [&] { return condition.Eval(); });
}

}  // namespace trunkline
