#include "agent/report/report_schedule.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

using Due = ReportSchedule::Due;

MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>(seconds * 1e9));
}

// A `uniform` of 0.5 means no jitter.
class ReportScheduleTest : public testing::Test {
 protected:
  Due At(double seconds, double utilization, double uniform = 0.5) {
    return schedule_.Check(trunkline::At(seconds), {utilization}, uniform);
  }

  ReportSchedule schedule_{absl::Seconds(1)};
};

TEST_F(ReportScheduleTest, FirstReportIsDueAtOnceAndThenOnePerInterval) {
  EXPECT_EQ(At(10, 0.5), Due::kInterval);
  EXPECT_EQ(At(10.9, 0.5), Due::kNo);
  EXPECT_EQ(At(11, 0.5), Due::kInterval);
}

TEST_F(ReportScheduleTest, IntervalsDifferByATenthAtMost) {
  EXPECT_EQ(At(0, 0.5, 0.0), Due::kInterval);
  EXPECT_EQ(At(0.89, 0.5), Due::kNo);
  EXPECT_EQ(At(0.9, 0.5, 0.999999), Due::kInterval);
  EXPECT_EQ(At(1.99, 0.5), Due::kNo);
  EXPECT_EQ(At(2.0, 0.5), Due::kInterval);
}

TEST_F(ReportScheduleTest, HotServiceIsReportedAtOnceAndOnce) {
  At(0, 0.5);
  EXPECT_EQ(At(0.3, 0.90), Due::kCrossing);
  EXPECT_EQ(At(0.5, 0.95), Due::kNo);
}

TEST_F(ReportScheduleTest, OscillationBetweenTheThresholdsIsSilent) {
  At(0, 0.95);
  EXPECT_EQ(At(0.2, 0.89), Due::kNo);
  EXPECT_EQ(At(0.4, 0.91), Due::kNo) << "it never cooled down";
  EXPECT_EQ(At(0.6, 0.81), Due::kNo);
  EXPECT_EQ(At(0.8, 0.80), Due::kCrossing);
}

TEST_F(ReportScheduleTest, CrossingRightAfterAReportWaitsForTheGap) {
  At(0, 0.5);
  EXPECT_EQ(At(0.05, 0.95), Due::kNo);
  EXPECT_EQ(At(0.1, 0.95), Due::kCrossing) << "kept, not forgotten";
}

TEST_F(ReportScheduleTest, AlternatingLoadSendsAtMostTenReportsPerSecond) {
  int sent = 0;
  for (int i = 0; i < 1000; ++i) sent += At(i * 0.01, i % 2 == 0 ? 1.0 : 0.0) != Due::kNo;
  EXPECT_LE(sent, 101);
}

TEST_F(ReportScheduleTest, EachServiceHasItsOwnHysteresis) {
  ReportSchedule schedule(absl::Seconds(1));
  schedule.Check(trunkline::At(0), {0.95, 0.1}, 0.5);
  EXPECT_EQ(schedule.Check(trunkline::At(0.2), {0.95, 0.92}, 0.5), Due::kCrossing);
}

TEST_F(ReportScheduleTest, ShorterIntervalTakesEffectWithoutWaitingForTheOldOne) {
  ReportSchedule schedule(absl::Seconds(60));
  schedule.Check(trunkline::At(0), {0.5}, 0.5);
  schedule.SetInterval(trunkline::At(1), absl::Milliseconds(500));
  EXPECT_EQ(schedule.Check(trunkline::At(1.4), {0.5}, 0.5), Due::kNo);
  EXPECT_EQ(schedule.Check(trunkline::At(1.5), {0.5}, 0.5), Due::kInterval);
}

}  // namespace
}  // namespace trunkline
