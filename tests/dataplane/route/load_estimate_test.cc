#include "dataplane/route/load_estimate.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {
namespace {

MonotonicTime At(absl::Duration since_start) { return MonotonicTime() + since_start; }

TEST(LoadEstimateTest, WithoutAReportTheWorkersOwnFlowsCount) {
  LoadEstimate estimate;
  estimate.AddOwn(3);
  EXPECT_EQ(estimate.InFlight(1), 3);
  EXPECT_EQ(estimate.InFlight(10), 30) << "comparable with other servers' reports";
}

TEST(LoadEstimateTest, ReportCountsTheFlowsOfAllProxies) {
  LoadEstimate estimate;
  estimate.AddOwn(3);
  estimate.OnReport({.active = 40}, At(absl::ZeroDuration()));
  EXPECT_EQ(estimate.InFlight(10), 40);
}

TEST(LoadEstimateTest, OwnFlowsSinceTheReportStandForThoseOfAllWorkers) {
  LoadEstimate estimate;
  estimate.AddOwn(4);
  estimate.OnReport({.active = 40}, At(absl::ZeroDuration()));
  estimate.AddOwn(2);
  EXPECT_EQ(estimate.InFlight(10), 60);
  estimate.AddOwn(-3);
  EXPECT_EQ(estimate.InFlight(10), 30);
  estimate.OnReport({.active = 41}, At(absl::Milliseconds(50)));
  EXPECT_EQ(estimate.InFlight(10), 41) << "the next report replaces the estimate";
}

TEST(LoadEstimateTest, EstimateIsNeverNegative) {
  LoadEstimate estimate;
  estimate.AddOwn(5);
  estimate.OnReport({.active = 5}, At(absl::ZeroDuration()));
  estimate.AddOwn(-5);
  EXPECT_EQ(estimate.InFlight(10), 0);
}

TEST(LoadEstimateTest, ReportThatIsNotRepeatedIsDroppedAfterFiveSeconds) {
  LoadEstimate estimate;
  estimate.AddOwn(1);
  estimate.OnReport({.active = 40, .utilization = 900}, At(absl::Seconds(10)));
  EXPECT_FALSE(estimate.ForgetIfOld(At(absl::Seconds(15) - absl::Milliseconds(1))));
  EXPECT_EQ(estimate.InFlight(1), 40);
  EXPECT_TRUE(estimate.ForgetIfOld(At(absl::Seconds(15))));
  EXPECT_EQ(estimate.InFlight(1), 1);
  EXPECT_FALSE(estimate.ForgetIfOld(At(absl::Seconds(16)))) << "returned once";
}

TEST(TrafficShareTest, ScaleIsOneWithoutReports) { EXPECT_EQ(TrafficShare().scale(), 1); }

TEST(TrafficShareTest, ScaleIsAllFlowsOverTheWorkersOwn) {
  TrafficShare share;
  for (int i = 0; i < 1000; ++i) share.OnReport(i % 2 == 0 ? 1 : 3, 20);
  EXPECT_NEAR(share.scale(), 10, 0.5);
}

TEST(TrafficShareTest, OldReportsLoseTheirInfluence) {
  TrafficShare share;
  for (int i = 0; i < 1000; ++i) share.OnReport(2, 20);
  for (int i = 0; i < 1000; ++i) share.OnReport(20, 20);
  EXPECT_NEAR(share.scale(), 1, 0.01);
}

TEST(TrafficShareTest, ScaleOfAWorkerWithoutFlowsIsBounded) {
  TrafficShare share;
  for (int i = 0; i < 1000; ++i) share.OnReport(0, 1'000'000);
  EXPECT_EQ(share.scale(), TrafficShare::kMaxScale);
}

// The agent may count a flow a moment before or after the worker.
TEST(TrafficShareTest, ScaleIsAtLeastOne) {
  TrafficShare share;
  for (int i = 0; i < 1000; ++i) share.OnReport(10, 8);
  EXPECT_EQ(share.scale(), 1);
}

}  // namespace
}  // namespace trunkline
