#include "controller/loop/tick_schedule.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace trunkline {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(500);
constexpr absl::Duration kStep = absl::Milliseconds(1);

class TickScheduleTest : public ::testing::Test {
 protected:
  TickScheduleTest() {
    EXPECT_TRUE(schedule_.Due(now_));
    schedule_.OnTick(now_);
  }
  // Lets time pass, with a tick whenever one is due. Returns how many there were.
  int Pass(absl::Duration duration) {
    int ticks = 0;
    for (const MonotonicTime end = now_ + duration; now_ < end;) {
      now_ = now_ + kStep;
      if (!schedule_.Due(now_)) continue;
      schedule_.OnTick(now_);
      ++ticks;
    }
    return ticks;
  }

  MonotonicTime now_ = MonotonicTime() + absl::Hours(1);
  TickSchedule schedule_{kInterval, now_};
};

TEST_F(TickScheduleTest, TicksOncePerIntervalWithoutChanges) {
  EXPECT_EQ(Pass(kInterval - kStep), 0);
  EXPECT_EQ(Pass(kStep), 1);
  EXPECT_EQ(Pass(10 * kInterval), 10);
}

TEST_F(TickScheduleTest, ChangeDoesNotWaitForTheInterval) {
  Pass(absl::Milliseconds(100));
  schedule_.OnChange(now_);
  EXPECT_EQ(Pass(TickSchedule::kCoalescing), 1);
  EXPECT_EQ(Pass(kInterval - kStep), 0) << "the interval begins again";
}

TEST_F(TickScheduleTest, ChangesOfOneMomentShareATick) {
  Pass(absl::Milliseconds(100));
  int ticks = 0;
  for (int i = 0; i < 20; ++i) {
    schedule_.OnChange(now_);
    ticks += Pass(kStep);
  }
  EXPECT_EQ(ticks, 1);
}

// A fleet that comes one by one must not cost a snapshot for each agent.
TEST_F(TickScheduleTest, StreamOfChangesTicksAtMostOncePerGap) {
  int ticks = 0;
  constexpr int kChanges = 1000;
  for (int i = 0; i < kChanges; ++i) {
    schedule_.OnChange(now_);
    ticks += Pass(kStep);
  }
  EXPECT_LE(ticks, kChanges * kStep / TickSchedule::kMinGap);
  EXPECT_GE(ticks, kChanges * kStep / TickSchedule::kMinGap - 1) << "nor be starved";
}

TEST_F(TickScheduleTest, UrgentTickIsDueAtOnce) {
  schedule_.OnUrgent(now_);
  EXPECT_TRUE(schedule_.Due(now_));
}

}  // namespace
}  // namespace trunkline
