#include "common/net/timer_wheel.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/random.h"

namespace trunkline {
namespace {

constexpr absl::Duration kSlot = absl::Nanoseconds(TimerWheel::kSlotNanos);
constexpr absl::Duration kTurn = absl::Nanoseconds(TimerWheel::kSlotNanos * 1024);
static_assert(TimerWheel::kSlots == 1024);

class TestTimer final : public Timer {
 public:
  std::function<void()> action = [] {};
  int fired = 0;

 private:
  void OnTimer() override {
    ++fired;
    action();
  }
};

class TimerWheelTest : public ::testing::Test {
 protected:
  // Not a multiple of a slot, so that rounding shows.
  MonotonicTime start_ = MonotonicTime::FromNanos(1'000'000'007'654'321);
  TimerWheel wheel_{start_};

  // Advances by half slots. Returns the time at which `timer` fired; Infinite after `limit`.
  MonotonicTime AdvanceUntilFired(const TestTimer& timer, absl::Duration limit) {
    const int before = timer.fired;
    for (MonotonicTime now = start_; now <= start_ + limit; now = now + kSlot / 2) {
      wheel_.Advance(now);
      if (timer.fired > before) return now;
    }
    return MonotonicTime::Infinite();
  }
};

TEST_F(TimerWheelTest, FiresNeverEarlyAndAtMostASlotLate) {
  for (const int micros : {0, 1, 7'999, 8'000, 8'001, 50'000, 1'234'567}) {
    TimerWheel wheel(start_);
    TestTimer timer;
    const MonotonicTime deadline = start_ + absl::Microseconds(micros);
    wheel.Arm(timer, deadline);
    MonotonicTime now = start_;
    for (; timer.fired == 0 && now < deadline + 3 * kSlot; now = now + absl::Microseconds(100)) {
      wheel.Advance(now);
      ASSERT_TRUE(timer.fired == 0 || now >= deadline) << micros << " us fired early";
    }
    EXPECT_EQ(timer.fired, 1);
    EXPECT_LE(now - deadline, kSlot + absl::Microseconds(200)) << micros << " us fired late";
  }
}

TEST_F(TimerWheelTest, ReArmedTimerFiresAtItsNewDeadlineOnly) {
  TestTimer timer;
  wheel_.Arm(timer, start_ + absl::Milliseconds(20));
  wheel_.Arm(timer, start_ + absl::Milliseconds(500));
  wheel_.Advance(start_ + absl::Milliseconds(499));
  EXPECT_EQ(timer.fired, 0);
  wheel_.Advance(start_ + absl::Milliseconds(520));
  wheel_.Advance(start_ + absl::Milliseconds(900));
  EXPECT_EQ(timer.fired, 1);
  EXPECT_FALSE(timer.armed());
}

TEST_F(TimerWheelTest, CallbackCancelsAnotherTimerOfTheSameSlot) {
  TestTimer first;
  TestTimer second;
  first.action = [&] { second.Cancel(); };
  second.action = [&] { first.Cancel(); };
  wheel_.Arm(first, start_ + absl::Milliseconds(20));
  wheel_.Arm(second, start_ + absl::Milliseconds(20));
  wheel_.Advance(start_ + absl::Seconds(1));
  EXPECT_EQ(first.fired + second.fired, 1);
}

TEST_F(TimerWheelTest, CallbackDestroysAnotherTimerOfTheSameSlot) {
  TestTimer first;
  auto second = std::make_unique<TestTimer>();
  auto third = std::make_unique<TestTimer>();
  first.action = [&] { second.reset(); };
  for (TestTimer* timer : {&first, second.get(), third.get()}) {
    wheel_.Arm(*timer, start_ + absl::Milliseconds(20));
  }
  wheel_.Advance(start_ + absl::Seconds(1));
  EXPECT_EQ(first.fired, 1);
  EXPECT_EQ(third->fired, 1);
}

TEST_F(TimerWheelTest, CallbackThatReArmsItselfForNowDoesNotLoop) {
  TestTimer timer;
  const MonotonicTime now = start_ + absl::Milliseconds(100);
  timer.action = [&] { wheel_.Arm(timer, now); };
  wheel_.Arm(timer, start_);
  wheel_.Advance(now);
  EXPECT_EQ(timer.fired, 1);
  EXPECT_TRUE(timer.armed());
}

TEST_F(TimerWheelTest, DeadlineBeyondTheHorizonFiresAfterSeveralTurns) {
  TestTimer timer;
  const absl::Duration wait = 3 * kTurn + absl::Milliseconds(123);
  wheel_.Arm(timer, start_ + wait);
  const MonotonicTime fired = AdvanceUntilFired(timer, 4 * kTurn);
  EXPECT_GE(fired, start_ + wait);
  EXPECT_LE(fired, start_ + wait + 2 * kSlot);
}

TEST_F(TimerWheelTest, InfiniteDeadlineNeverFires) {
  TestTimer timer;
  wheel_.Arm(timer, MonotonicTime::Infinite());
  EXPECT_EQ(AdvanceUntilFired(timer, 3 * kTurn), MonotonicTime::Infinite());
  EXPECT_TRUE(timer.armed());
}

TEST_F(TimerWheelTest, OverflowingWaitIsNotShortened) {
  TestTimer timer;
  wheel_.Arm(timer, start_ + absl::InfiniteDuration());
  wheel_.Advance(start_ + absl::Seconds(1));
  EXPECT_EQ(timer.fired, 0);
}

TEST_F(TimerWheelTest, StallOfSeveralTurnsFiresOnlyDueTimers) {
  std::vector<std::unique_ptr<TestTimer>> due;
  for (int i = 0; i < 2000; ++i) {
    due.push_back(std::make_unique<TestTimer>());
    wheel_.Arm(*due.back(), start_ + absl::Milliseconds(7) * i);
  }
  TestTimer later;
  wheel_.Arm(later, start_ + 6 * kTurn);
  wheel_.Advance(start_ + 5 * kTurn);
  for (const auto& timer : due) EXPECT_EQ(timer->fired, 1);
  EXPECT_EQ(later.fired, 0);
  wheel_.Advance(start_ + 6 * kTurn + 2 * kSlot);
  EXPECT_EQ(later.fired, 1);
}

TEST_F(TimerWheelTest, UnchangedClockFiresNoTimerTwice) {
  TestTimer timer;
  wheel_.Arm(timer, start_ + absl::Milliseconds(1));
  const MonotonicTime now = start_ + absl::Milliseconds(50);
  wheel_.Advance(now);
  wheel_.Advance(now);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(TimerWheelTest, WaitEndsAtTheNextTimerAndIsUnboundedWithoutOne) {
  EXPECT_EQ(wheel_.NanosToNext(start_), -1);
  TestTimer timer;
  wheel_.Arm(timer, start_ + absl::Milliseconds(100));
  const absl::Duration wait = absl::Nanoseconds(wheel_.NanosToNext(start_));
  EXPECT_GE(wait, absl::Milliseconds(100));
  EXPECT_LE(wait, absl::Milliseconds(100) + kSlot);
  EXPECT_EQ(wheel_.NanosToNext(start_ + absl::Seconds(1)), 0) << "overdue: now";
  timer.Cancel();
  EXPECT_EQ(wheel_.NanosToNext(start_), -1);
}

TEST_F(TimerWheelTest, TimerOutlivesItsWheel) {
  TestTimer timer;
  {
    TimerWheel wheel(start_);
    wheel.Arm(timer, start_ + absl::Seconds(1));
  }
  EXPECT_FALSE(timer.armed());
  timer.Cancel();
}

// The wheel against a sorted map of deadlines: random arms, re-arms, cancels, steps and stalls.
class WheelAgainstMap {
 public:
  explicit WheelAgainstMap(uint64_t seed) : random_(seed), wheel_(now_) {
    for (size_t i = 0; i < kTimers; ++i) {
      timers_.push_back(std::make_unique<TestTimer>());
      timers_[i]->action = [this, i] { OnFired(i); };
    }
  }

  void Run() {
    for (int step = 0; step < 20'000 && !::testing::Test::HasFailure(); ++step) {
      const size_t i = random_.Next() % kTimers;
      const double dice = random_.Uniform();
      if (dice < 0.5) {
        Arm(i);
      } else if (dice < 0.6) {
        timers_[i]->Cancel();
        deadlines_.erase(i);
      } else {
        Step(dice);
      }
    }
  }

 private:
  static constexpr size_t kTimers = 200;

  void Arm(size_t i) {
    // Mostly near, some past the horizon.
    const absl::Duration span = random_.Uniform() < 0.8 ? absl::Milliseconds(200) : 3 * kTurn;
    deadlines_[i] = now_ + span * random_.Uniform();
    wheel_.Arm(*timers_[i], deadlines_[i]);
  }

  void Step(double dice) {
    now_ = now_ + (dice > 0.999 ? 2 * kTurn * random_.Uniform() : kSlot * 2 * random_.Uniform());
    wheel_.Advance(now_);
    for (const auto& [i, deadline] : deadlines_) {
      ASSERT_TRUE(timers_[i]->armed());
      ASSERT_LT(now_ - deadline, kSlot) << "timer " << i << " is late";
    }
  }

  void OnFired(size_t i) {
    const auto known = deadlines_.find(i);
    ASSERT_NE(known, deadlines_.end()) << "timer " << i << " fired without being armed";
    ASSERT_LE(known->second, now_) << "timer " << i << " fired early";
    deadlines_.erase(known);
    // Callbacks arm and cancel timers as well.
    if (random_.Uniform() < 0.3) Arm(random_.Next() % kTimers);
  }

  FastRandom random_;
  MonotonicTime now_ = MonotonicTime::FromNanos(987'654'321);
  TimerWheel wheel_;
  std::vector<std::unique_ptr<TestTimer>> timers_;
  std::map<size_t, MonotonicTime> deadlines_;
};

TEST(TimerWheelModelTest, RandomUseAgreesWithASortedMap) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WheelAgainstMap(seed).Run();
  }
}

}  // namespace
}  // namespace trunkline
