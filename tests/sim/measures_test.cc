#include "tests/sim/measures.h"

#include <gtest/gtest.h>

#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

TEST(LatencyCountsTest, QuantilesAreWithinASixtyFourth) {
  LatencyCounts counts;
  for (int i = 1; i <= 1000; ++i) counts.Add(i * kMillisecond);
  EXPECT_NEAR(counts.Quantile(0.5), 0.5, 0.5 / 64);
  EXPECT_NEAR(counts.Quantile(0.99), 0.99, 0.99 / 64);
  EXPECT_NEAR(counts.Quantile(0.999), 0.999, 1.0 / 64);
}

TEST(LatencyCountsTest, MergedCountsAreThoseOfBoth) {
  LatencyCounts low, high;
  for (int i = 0; i < 90; ++i) low.Add(kMillisecond);
  for (int i = 0; i < 10; ++i) high.Add(kSecond);
  low.Merge(high);
  EXPECT_EQ(low.count(), 100u);
  EXPECT_NEAR(low.Quantile(0.5), 0.001, 0.001 / 64);
  EXPECT_NEAR(low.Quantile(0.95), 1, 1.0 / 64);
}

TEST(LatencyCountsTest, WithoutLatenciesQuantilesAreZero) {
  EXPECT_EQ(LatencyCounts().Quantile(0.99), 0);
}

class FiguresTest : public testing::Test {
 protected:
  FiguresTest() {
    scenario_.servers.resize(2);
    scenario_.duration = 100 * kSecond;
    scenario_.steady_from = 50 * kSecond;
    scenario_.settle_after = 20 * kSecond;
    result_.seconds.resize(2);
  }
  void Add(int seconds, double a, double b) {
    for (int i = 0; i < seconds; ++i) {
      result_.seconds[0].push_back({.utilization = a});
      result_.seconds[1].push_back({.utilization = b});
    }
  }

  Scenario scenario_;
  RunResult result_;
};

TEST_F(FiguresTest, ImbalanceIsTheBusiestOverTheMeanOfTheSteadyState) {
  Add(50, 1.0, 0.1);
  Add(50, 0.6, 0.4);
  EXPECT_NEAR(Evaluate(scenario_, result_).imbalance, 1.2, 1e-9);
}

TEST_F(FiguresTest, WeightsAreComparedWithTheCapacity) {
  for (int i = 0; i < 100; ++i) {
    result_.seconds[0].push_back({.share = 0.6, .capacity = 1});
    result_.seconds[1].push_back({.share = 0.4, .capacity = 3});
  }
  EXPECT_NEAR(Evaluate(scenario_, result_).weight_error, 0.6 / 0.25 - 1, 1e-9);
}

TEST_F(FiguresTest, SwingIsTheWidestRangeOfMeansOfFiveSeconds) {
  Add(50, 0, 1);
  Add(45, 0.5, 0.5);
  Add(5, 0.5, 0.8);
  EXPECT_NEAR(Evaluate(scenario_, result_).swing, 0.3, 1e-9);
}

TEST_F(FiguresTest, SettlesWhenItStaysBalanced) {
  Add(20, 0.5, 0.5);
  Add(10, 0.9, 0.1);  // from 20 s, where settling is measured from
  Add(8, 0.5, 0.5);   // too short
  Add(5, 0.9, 0.1);
  Add(57, 0.5, 0.5);
  EXPECT_NEAR(Evaluate(scenario_, result_).settle, 43 + 5 - 20, 2);
}

TEST_F(FiguresTest, WhatNeverSettlesTakesTheWholeTime) {
  Add(100, 0.9, 0.1);
  EXPECT_EQ(Evaluate(scenario_, result_).settle, 80);
}

TEST_F(FiguresTest, ShareIsThatOfTheFlowsAtTheWatchedServer) {
  Add(100, 0.5, 0.5);
  result_.flows = 200;
  result_.watched_flows = 50;
  EXPECT_EQ(Evaluate(scenario_, result_).share, 0.25);
}

}  // namespace
}  // namespace trunkline::sim
