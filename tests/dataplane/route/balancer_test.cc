#include "dataplane/route/balancer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "common/base/random.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

constexpr int kPicks = 200'000;

using Weights = std::vector<double>;
using Shares = std::vector<double>;

Balancer With(const Weights& weights) { return Balancer(std::make_shared<AliasTable>(weights)); }

using Loads = std::vector<Balancer::Load>;

Loads LoadsOf(const std::vector<uint32_t>& in_flight) {
  Loads loads;
  for (const uint32_t count : in_flight) loads.push_back({.in_flight = static_cast<double>(count)});
  return loads;
}

Shares Share(const Balancer& balancer, const Loads& loads, uint64_t seed = 1) {
  FastRandom random(seed);
  Shares shares(loads.size(), 0);
  for (int i = 0; i < kPicks; ++i) ++shares[balancer.Pick(loads, random)];
  for (double& share : shares) share /= kPicks;
  return shares;
}

Shares Share(const Balancer& balancer, const std::vector<uint32_t>& in_flight) {
  return Share(balancer, LoadsOf(in_flight));
}

// A share of kPicks independent picks has a standard deviation of sqrt(p (1 - p) / kPicks). Chance
// exceeds five of them once in 1.7 million shares.
double Tolerance(double p) { return 5 * std::sqrt(p * (1 - p) / kPicks); }

Weights Normalized(Weights weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= sum;
  return weights;
}

class IdleShareTest : public ::testing::TestWithParam<Weights> {};

TEST_P(IdleShareTest, IdleEndpointsGetExactlyTheirWeights) {
  const Weights expected = Normalized(GetParam());
  const Shares shares = Share(With(GetParam()), std::vector<uint32_t>(expected.size(), 0));
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(shares[i], expected[i], Tolerance(expected[i])) << "endpoint " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, IdleShareTest,
                         ::testing::Values(Weights{1}, Weights{1, 1}, Weights{4, 2, 1, 1},
                                           Weights{0.001, 1000}, Weights{3, 0, 5, 0, 2},
                                           Weights{1e-9, 2e-9, 3e-9}, Weights(500, 7.0)));

// Load in proportion to the weights is a tie as well.
TEST(BalancerTest, EvenlyLoadedEndpointsGetExactlyTheirWeights) {
  const Shares shares = Share(With({4, 2, 1, 1}), {40, 20, 10, 10});
  const Weights expected = {0.5, 0.25, 0.125, 0.125};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(shares[i], expected[i], Tolerance(expected[i]));
  }
}

// The usual score, with an idle service of capacities 4:2:1:1: the heavier of two draws always
// wins, so the heaviest gets 1 - (1 - 1/2)^2 = 75 % instead of 50 %, and the lightest two 3.1 %
// each instead of 12.5 %.
TEST(BalancerTest, ScoreWithOneAddedWouldSendALightLoadToTheHeaviestEndpoint) {
  const Weights weights = {4, 2, 1, 1};
  const Weights cumulated = {0.5, 0.75, 0.875, 1};
  FastRandom random(1);
  const auto draw = [&] {
    const double x = random.Uniform();
    size_t i = 0;
    while (x >= cumulated[i]) ++i;
    return i;
  };
  Shares shares(4, 0);
  for (int i = 0; i < kPicks; ++i) {
    const size_t a = draw();
    const size_t b = draw();
    shares[(0 + 1) / weights[b] < (0 + 1) / weights[a] ? b : a] += 1.0 / kPicks;
  }
  const Shares expected = {0.75, 0.1875, 0.03125, 0.03125};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(shares[i], expected[i], Tolerance(expected[i]));
}

TEST(BalancerTest, ZeroWeightIsNeverPicked) {
  const Shares shares = Share(With({0, 1, 0, 1, 0}), {0, 1000, 0, 0, 0});
  EXPECT_EQ(shares[0] + shares[2] + shares[4], 0);
}

TEST(BalancerTest, PickReturnsNoneWithoutWeights) {
  FastRandom random(1);
  EXPECT_EQ(Balancer().Pick({}, random), Balancer::kNone);
  const Loads idle(2);
  EXPECT_EQ(With({0, 0}).Pick(idle, random), Balancer::kNone);
}

// Rejected draws leave the others' shares in proportion to their weights, by draws or by a scan.
TEST(BalancerTest, SharesOfRejectedEndpointsGoToCandidatesByWeight) {
  const Weights weights = {4, 2, 1, 1, 1000};
  for (const size_t rejected : {0, 4}) {
    Loads loads(weights.size());
    loads[rejected].candidate = false;
    Weights expected = weights;
    expected[rejected] = 0;
    expected = Normalized(expected);
    const Shares shares = Share(With(weights), loads);
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_NEAR(shares[i], expected[i], Tolerance(expected[i])) << rejected << " " << i;
    }
  }
}

TEST(BalancerTest, ExcludedEndpointsAreNotPicked) {
  const Balancer balancer = With({4, 2, 1, 1});
  const Loads idle(4);
  FastRandom random(1);
  const std::vector<size_t> excluded = {0, 3};
  double second = 0;
  for (int i = 0; i < kPicks; ++i) second += balancer.Pick(idle, random, excluded) == 1;
  EXPECT_NEAR(second / kPicks, 2 / 3.0, Tolerance(2 / 3.0));
  EXPECT_EQ(balancer.Pick(idle, random, std::vector<size_t>{0, 1, 2, 3}), Balancer::kNone);
}

TEST(BalancerTest, WithoutCandidatesNothingIsPicked) {
  Loads loads(2);
  loads[0].candidate = loads[1].candidate = false;
  FastRandom random(1);
  EXPECT_EQ(With({1, 1}).Pick(loads, random), Balancer::kNone);
}

// With two draws of p = 1/2 each, the less loaded endpoint is missed only if both draws hit the
// other.
TEST(BalancerTest, LessLoadedOfTwoDrawsWins) {
  const Shares shares = Share(With({1, 1}), {5, 4});
  EXPECT_NEAR(shares[1], 0.75, Tolerance(0.75));
}

TEST(BalancerTest, LoadCountsInProportionToTheWeight) {
  // 10 of 10 is as busy as 1 of 1; 9 of 10 is less busy.
  EXPECT_NEAR(Share(With({10, 1}), {10, 1})[1], 1 / 11.0, Tolerance(1 / 11.0));
  const double heavier = 1 - 1 / 121.0;
  EXPECT_NEAR(Share(With({10, 1}), {9, 1})[0], heavier, Tolerance(heavier));
}

// A fast-failing server is always the least loaded. It gets at most 1 - (1 - p)^2 <= 2p.
TEST(BalancerTest, NoEndpointDrawsMoreThanTwiceItsShare) {
  const Weights weights = {4, 2, 1, 1, 0.5};
  const Weights p = Normalized(weights);
  for (size_t magnet = 0; magnet < weights.size(); ++magnet) {
    std::vector<uint32_t> in_flight(weights.size(), 1000);
    in_flight[magnet] = 0;
    const double share = Share(With(weights), in_flight)[magnet];
    const double expected = 1 - (1 - p[magnet]) * (1 - p[magnet]);
    EXPECT_NEAR(share, expected, Tolerance(expected)) << "endpoint " << magnet;
    EXPECT_LE(share, 2 * p[magnet] + Tolerance(expected));
  }
}

// With flows that stay for a while, random choice spreads by sqrt(n), two choices by far less.
TEST(BalancerTest, TwoChoicesKeepLongFlowsEven) {
  const Balancer balancer = With(Weights(20, 1.0));
  FastRandom random(1);
  Loads loads(20);
  for (int i = 0; i < 20 * 100; ++i) ++loads[balancer.Pick(loads, random)].in_flight;
  for (const Balancer::Load& load : loads) EXPECT_NEAR(load.in_flight, 100, 5);
}

}  // namespace
}  // namespace trunkline
