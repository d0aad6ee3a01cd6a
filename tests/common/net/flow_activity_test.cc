#include "common/net/flow_activity.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

constexpr absl::Duration kIdle = absl::Hours(1);
constexpr absl::Duration kTick = absl::Milliseconds(1);

MonotonicTime At(absl::Duration since_start) { return MonotonicTime() + since_start; }

// Runs the timer as an owner does, until `end`.
void RunTimer(FlowActivity& activity, MonotonicTime& now, MonotonicTime end) {
  while (now + activity.Wait(now, kIdle) <= end) {
    now = now + activity.Wait(now, kIdle);
    activity.Settle(now);
    ASSERT_GT(activity.Wait(now, kIdle), absl::ZeroDuration());
  }
  now = end;
}

TEST(FlowActivityTest, NewConnectionCountsForOneSecond) {
  FlowActivity activity(At(absl::ZeroDuration()));
  EXPECT_TRUE(activity.counts());
  EXPECT_FALSE(activity.Settle(At(FlowActivity::kQuietAfter - kTick)));
  EXPECT_TRUE(activity.Settle(At(FlowActivity::kQuietAfter)));
  EXPECT_FALSE(activity.counts());
  EXPECT_FALSE(activity.Settle(At(FlowActivity::kQuietAfter))) << "reported once";
}

TEST(FlowActivityTest, QuietConnectionCountsAgainWithItsNextBytes) {
  FlowActivity activity(At(absl::ZeroDuration()));
  EXPECT_FALSE(activity.OnBytes(At(kTick), /*to_server=*/true)) << "it counts already";
  activity.Settle(At(absl::Minutes(1)));
  EXPECT_TRUE(activity.OnBytes(At(absl::Minutes(2)), /*to_server=*/true));
  EXPECT_TRUE(activity.counts());
}

TEST(FlowActivityTest, UnansweredRequestCountsForHalfAMinute) {
  FlowActivity activity(At(absl::ZeroDuration()));
  activity.OnBytes(At(kTick), /*to_server=*/true);
  EXPECT_FALSE(activity.Settle(At(FlowActivity::kUnansweredFor)));
  EXPECT_TRUE(activity.Settle(At(FlowActivity::kUnansweredFor + kTick)));
}

TEST(FlowActivityTest, ResponseMakesItQuietOneSecondLaterDespiteTheLongerTimer) {
  FlowActivity activity(At(absl::ZeroDuration()));
  activity.OnBytes(At(absl::ZeroDuration()), /*to_server=*/true);
  MonotonicTime now = At(absl::ZeroDuration());
  RunTimer(activity, now, At(absl::Milliseconds(5500)));
  activity.OnBytes(now, /*to_server=*/false);
  RunTimer(activity, now, At(absl::Milliseconds(7500)));
  EXPECT_FALSE(activity.counts());
}

TEST(FlowActivityTest, IdleTimeoutRunsFromTheLastByteEvenWhenQuiet) {
  FlowActivity activity(At(absl::ZeroDuration()));
  const absl::Duration shorter = absl::Milliseconds(300);
  EXPECT_EQ(activity.Wait(At(absl::ZeroDuration()), shorter), shorter);
  EXPECT_LE(activity.Wait(At(shorter), shorter), absl::ZeroDuration());
  activity.Settle(At(absl::Seconds(2)));
  EXPECT_EQ(activity.Wait(At(absl::Seconds(2)), kIdle), kIdle - absl::Seconds(2));
  EXPECT_LE(activity.Wait(At(kIdle), kIdle), absl::ZeroDuration());
}

TEST(FlowActivityTest, BlockedBytesAreNotSilence) {
  FlowActivity activity(At(absl::ZeroDuration()));
  activity.OnSign(At(kIdle - kTick));
  EXPECT_GT(activity.Wait(At(kIdle), kIdle), absl::ZeroDuration());
}

}  // namespace
}  // namespace trunkline
