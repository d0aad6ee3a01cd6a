#include "common/net/wake_pacer.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace trunkline {
namespace {

class WakePacerTest : public testing::Test {
 protected:
  // Flows end one after the other, `interval` apart.
  void Flows(int count, absl::Duration interval, absl::Duration life) {
    for (int i = 0; i < count; ++i) {
      now_ = now_ + interval;
      pacer_.OnFlowEnded(now_, life);
    }
  }
  absl::Duration Gap() const { return pacer_.Gap(now_); }

  static constexpr int kMany = 5000;
  MonotonicTime now_ = MonotonicTime::FromNanos(987'654'321);
  WakePacer pacer_{now_};
};

TEST_F(WakePacerTest, NoDelayBeforeTheFirstFlowEnds) { EXPECT_EQ(Gap(), absl::ZeroDuration()); }

TEST_F(WakePacerTest, ManyConcurrentFlowsAreDelayedByAnEighthOfTheirLifetime) {
  Flows(kMany, absl::Microseconds(50), absl::Milliseconds(1));
  EXPECT_NEAR(absl::ToDoubleMicroseconds(Gap()), 125, 1);
}

TEST_F(WakePacerTest, DelayIsBoundedHoweverLongFlowsLive) {
  Flows(kMany, absl::Microseconds(50), absl::Seconds(30));
  EXPECT_EQ(Gap(), WakePacer::kMaxGap);
}

TEST_F(WakePacerTest, FlowsServedAtOnceAreNotDelayed) {
  Flows(kMany, absl::Microseconds(50), absl::Microseconds(120));
  EXPECT_EQ(Gap(), absl::ZeroDuration());
}

TEST_F(WakePacerTest, FewerThanThreeFlowsInFlightAreNotDelayed) {
  Flows(kMany, absl::Microseconds(150), absl::Microseconds(150 * 2));
  EXPECT_EQ(Gap(), absl::ZeroDuration());
  Flows(kMany, absl::Microseconds(150), absl::Microseconds(150 * 3));
  EXPECT_GT(Gap(), absl::ZeroDuration());
}

// A request of a Redis client in a loop takes a fraction of the longest delay.
TEST_F(WakePacerTest, KeptFlowsAreNotDelayedByAFewThatEnd) {
  Flows(kMany, absl::Microseconds(260), absl::Milliseconds(40));
  EXPECT_EQ(Gap(), absl::ZeroDuration());
}

TEST_F(WakePacerTest, RareFlowsAreNotDelayed) {
  Flows(kMany, absl::Milliseconds(1), absl::Seconds(10));
  EXPECT_EQ(Gap(), absl::ZeroDuration());
}

TEST_F(WakePacerTest, EndedBurstIsForgotten) {
  Flows(kMany, absl::Microseconds(50), absl::Milliseconds(2));
  now_ = now_ + absl::Milliseconds(11);
  EXPECT_EQ(Gap(), absl::ZeroDuration());
}

TEST_F(WakePacerTest, OneLongFlowDoesNotRaiseTheDelay) {
  Flows(kMany, absl::Microseconds(10), absl::Microseconds(200));
  Flows(1, absl::Microseconds(10), absl::Hours(5));
  EXPECT_LT(Gap(), absl::Microseconds(100));
}

TEST_F(WakePacerTest, FlowsEndingInOnePassAreCountedEach) {
  for (int i = 0; i < kMany; ++i) {
    Flows(1, absl::Microseconds(400), absl::Milliseconds(5));
    Flows(7, absl::ZeroDuration(), absl::Milliseconds(5));
  }
  EXPECT_EQ(Gap(), WakePacer::kMaxGap);
}

TEST_F(WakePacerTest, LimitIsConfigurableAndZeroDisablesDelays) {
  Flows(kMany, absl::Microseconds(10), absl::Milliseconds(5));
  pacer_.set_max_gap(absl::Microseconds(30));
  EXPECT_EQ(Gap(), absl::Microseconds(30));
  pacer_.set_max_gap(absl::ZeroDuration());
  EXPECT_EQ(Gap(), absl::ZeroDuration());
}

}  // namespace
}  // namespace trunkline
