#include "controller/core/weight_limiter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "controller/core/weight_policy.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

class WeightLimiterTest : public testing::Test {
 protected:
  ProposedWeight& Propose(const std::string& id, double value) {
    for (ProposedWeight& one : proposed_) {
      if (one.endpoint_id != id) continue;
      one.value = value;
      return one;
    }
    ProposedWeight& added = proposed_.emplace_back();
    added.endpoint_id = id;
    added.value = value;
    return added;
  }
  bool Tick(double at, bool frozen = false) { return limiter_.Tick(proposed_, frozen, At(at)); }
  double Of(const std::string& id) { return limiter_.accepted(id); }

  std::vector<ProposedWeight> proposed_;
  WeightLimiter limiter_;
};

TEST_F(WeightLimiterTest, AcceptedWeightsHaveMeanOne) {
  Propose("a", 40);
  Propose("b", 20);
  Propose("c", 10);
  Propose("d", 10);
  EXPECT_TRUE(Tick(0));
  EXPECT_NEAR(Of("a"), 2, 1e-9);
  EXPECT_NEAR(Of("b"), 1, 1e-9);
  EXPECT_NEAR(Of("c"), 0.5, 1e-9);
}

TEST_F(WeightLimiterTest, TinyProposalIsLiftedToAFiftiethOfTheMean) {
  Propose("a", 1);
  Propose("b", 1e-6);
  Tick(0);
  EXPECT_NEAR(Of("b") / ((Of("a") + Of("b")) / 2), 0.02, 0.001);
}

TEST_F(WeightLimiterTest, HugeProposalIsCutToTenTimesTheMean) {
  for (int i = 0; i < 99; ++i) Propose("s" + std::to_string(i), 1);
  Propose("liar", 1e6);
  Tick(0);
  // Without the ceiling the wrong proposal would take nearly all of the 100 shares; the other 99
  // rise to the floor, so 10 / 11.98 of the sum.
  EXPECT_NEAR(Of("liar"), 100 * 10 / (10 + 99 * 0.02), 0.5);
}

TEST_F(WeightLimiterTest, StaleEndpointIsNeverRaised) {
  Propose("a", 1);
  Propose("b", 1);
  Propose("c", 1);
  Tick(0);
  Propose("a", 1).may_rise = false;
  Propose("b", 0.2);
  Propose("c", 0.2);
  Tick(1);
  EXPECT_NEAR(Of("a"), 1, 1e-9);
  EXPECT_NEAR(Of("b"), 1, 1e-2) << "the others take what the stale one would have gained";
  Propose("a", 0.1);
  Tick(2);
  EXPECT_LT(Of("a"), 1) << "it may fall";
}

TEST_F(WeightLimiterTest, FrozenWeightsStayWhateverIsProposed) {
  Propose("a", 3);
  Propose("b", 1);
  Tick(0);
  Propose("a", 1);
  Propose("b", 9);
  EXPECT_FALSE(Tick(5, /*frozen=*/true));
  EXPECT_EQ(Of("a"), 1.5);
  EXPECT_EQ(Of("b"), 0.5);
}

TEST_F(WeightLimiterTest, FrozenServiceStillTakesDrainsPinsAndNewcomers) {
  Propose("a", 3);
  Propose("b", 1);
  Tick(0);
  Propose("a", 3).draining = true;
  Propose("b", 1).pin = 4;
  EXPECT_TRUE(Tick(0.1, /*frozen=*/true));
  EXPECT_EQ(Of("a"), 0);
  EXPECT_EQ(Of("b"), 4);
  proposed_.clear();
  Propose("a", 3);
  Propose("b", 1);
  Propose("c", 2);
  Tick(0.2, /*frozen=*/false);
  Propose("d", 2);
  Tick(0.3, /*frozen=*/true);
  EXPECT_NEAR(Of("d"), Of("c"), 1e-9);
  EXPECT_NEAR(Of("a"), 1.5, 1e-9);
}

TEST_F(WeightLimiterTest, DrainedEndpointHasNoWeightAndNoPartInTheMean) {
  Propose("a", 1);
  Propose("b", 9).draining = true;
  Tick(0);
  EXPECT_EQ(Of("a"), 1);
  EXPECT_EQ(Of("b"), 0);
}

TEST_F(WeightLimiterTest, PinnedWeightIsNotBounded) {
  Propose("a", 1);
  Propose("b", 1).pin = 500;
  Tick(0);
  EXPECT_EQ(Of("a"), 1);
  EXPECT_EQ(Of("b"), 500);
}

TEST_F(WeightLimiterTest, UnreachableServerKeepsTheFloorSoThatProxiesCanProbe) {
  Propose("a", 1);
  Propose("b", 1).reachable = false;
  Tick(0);
  EXPECT_EQ(Of("a"), 1);
  EXPECT_EQ(Of("b"), WeightLimiter::kFloor);
}

TEST_F(WeightLimiterTest, SmallChangeWaitsForTheSecond) {
  Propose("a", 1);
  Propose("b", 1);
  ASSERT_TRUE(Tick(0));
  Propose("a", 1.03);  // 1.5 % more of the mean
  EXPECT_FALSE(Tick(0.5));
  EXPECT_EQ(Of("a"), 1);
  EXPECT_TRUE(Tick(1.0));
  EXPECT_NE(Of("a"), 1);
}

TEST_F(WeightLimiterTest, LargeChangeIsPublishedAtOnce) {
  Propose("a", 1);
  Propose("b", 1);
  ASSERT_TRUE(Tick(0));
  Propose("a", 1.1);
  EXPECT_TRUE(Tick(0.1));
}

// Among thousands of endpoints some weight moves at every tick. If each such tick published every
// change, every proxy would get thousands of weights that no client can tell from the old ones.
TEST_F(WeightLimiterTest, ChangeOfLessThanAHundredthIsNotPublished) {
  for (int i = 0; i < 1000; ++i) Propose("s" + std::to_string(i), 1);
  ASSERT_TRUE(Tick(0));
  for (int i = 0; i < 999; ++i) Propose("s" + std::to_string(i), i % 2 == 0 ? 1.008 : 0.992);
  EXPECT_FALSE(Tick(10));
  Propose("s999", 1.1);
  EXPECT_TRUE(Tick(20));
  EXPECT_EQ(Of("s0"), 1);
  EXPECT_EQ(Of("s1"), 1);
  EXPECT_NEAR(Of("s999"), 1.1, 0.01);
}

TEST_F(WeightLimiterTest, SmallChangeWaitsForTheSecondAlsoIfAnotherIsPublished) {
  for (const char* id : {"a", "b", "c", "d"}) Propose(id, 1);
  ASSERT_TRUE(Tick(0));
  Propose("a", 1.016);
  Propose("b", 1.1);
  Propose("c", 0.9);
  Propose("d", 0.984);
  EXPECT_TRUE(Tick(0.5));
  EXPECT_EQ(Of("a"), 1);
  EXPECT_EQ(Of("d"), 1);
  EXPECT_NE(Of("b"), 1);
  EXPECT_TRUE(Tick(1.0));
  EXPECT_EQ(Of("a"), 1.02);
}

// Changes that are too small one by one must not add up to a weight that is far from the proposal.
TEST_F(WeightLimiterTest, PublishedWeightsStayWithinAHundredthOfTheProposedOnes) {
  for (int i = 0; i < 100; ++i) Propose("s" + std::to_string(i), 1);
  ASSERT_TRUE(Tick(0));
  for (int step = 1; step <= 200; ++step) {
    const double up = 1 + 0.004 * step;
    double sum = 0;
    for (int i = 0; i < 100; ++i) {
      const double value = i % 2 == 0 ? up : 1;
      Propose("s" + std::to_string(i), value);
      sum += value;
    }
    Tick(step);
    for (int i = 0; i < 100; ++i) {
      const double proposed = (i % 2 == 0 ? up : 1) / (sum / 100);
      // Besides the hundredth, half of the last of three digits.
      ASSERT_NEAR(Of("s" + std::to_string(i)) / proposed, 1, 0.0155) << step;
    }
  }
}

TEST_F(WeightLimiterTest, MembershipChangeIsPublishedAtOnce) {
  Propose("a", 1);
  ASSERT_TRUE(Tick(0));
  Propose("b", 1);
  EXPECT_TRUE(Tick(0.1));
  proposed_.pop_back();
  EXPECT_TRUE(Tick(0.2));
  EXPECT_EQ(limiter_.size(), 1u);
}

TEST_F(WeightLimiterTest, UnchangedWeightsAreNotPublishedAgain) {
  Propose("a", 1);
  Propose("b", 3);
  ASSERT_TRUE(Tick(0));
  EXPECT_FALSE(Tick(10));
}

TEST_F(WeightLimiterTest, WeightsHaveThreeDigits) {
  EXPECT_NEAR(WeightLimiter::Quantise(1.23456), 1.23, 1e-12);
  EXPECT_NEAR(WeightLimiter::Quantise(0.0214567), 0.0215, 1e-12);
  EXPECT_EQ(WeightLimiter::Quantise(0), 0);
  Propose("a", 1);
  Propose("b", 2);
  Tick(0);
  EXPECT_EQ(Of("a"), 0.667);
}

}  // namespace
}  // namespace trunkline
