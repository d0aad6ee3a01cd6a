#include "common/base/timed_condition.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace trunkline {
namespace {

class TimedConditionTest : public testing::Test {
 protected:
  void Set() {
    const absl::MutexLock lock(&mutex_);
    done_ = true;
    changed_.NotifyAll();
  }

  absl::Mutex mutex_;
  bool done_ = false;
  TimedCondition changed_;
};

TEST_F(TimedConditionTest, ChangeEndsAnEndlessWait) {
  std::thread setter([this] { Set(); });
  {
    const absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(changed_.AwaitFor(mutex_, absl::InfiniteDuration(), absl::Condition(&done_)));
  }
  setter.join();
}

TEST_F(TimedConditionTest, WaitEndsWithoutAChange) {
  const absl::MutexLock lock(&mutex_);
  EXPECT_FALSE(changed_.AwaitFor(mutex_, absl::Milliseconds(1), absl::Condition(&done_)));
}

TEST_F(TimedConditionTest, TimeThatIsOverAlreadyStillChecksTheCondition) {
  Set();
  const absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(changed_.AwaitFor(mutex_, absl::Seconds(-1), absl::Condition(&done_)));
  EXPECT_TRUE(changed_.AwaitFor(mutex_, -absl::InfiniteDuration(), absl::Condition(&done_)));
}

TEST_F(TimedConditionTest, MutexIsReleasedDuringTheWaitAndHeldAfterwards) {
  const absl::MutexLock lock(&mutex_);
  std::thread setter([this] { Set(); });  // needs the mutex
  EXPECT_TRUE(changed_.AwaitFor(mutex_, absl::InfiniteDuration(), absl::Condition(&done_)));
  mutex_.AssertHeld();
  setter.join();
}

}  // namespace
}  // namespace trunkline
