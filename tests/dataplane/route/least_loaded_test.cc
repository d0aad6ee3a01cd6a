#include "dataplane/route/least_loaded.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

constexpr int kPicks = 200'000;

using Weights = std::vector<double>;
using Loads = std::vector<Balancer::Load>;

// Five standard deviations of a share of kPicks independent picks.
double Tolerance(double p) { return 5 * std::sqrt(p * (1 - p) / kPicks); }

Weights Normalized(Weights weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= sum;
  return weights;
}

class LeastLoadedTest : public ::testing::Test {
 protected:
  void Start(const Weights& weights) {
    table_ = std::make_shared<AliasTable>(weights);
    draws_ = Balancer(table_);
    least_loaded_.SetEndpoints();
    loads_ = Loads(weights.size());
  }
  void SetCandidate(size_t i, bool candidate) {
    loads_[i].candidate = candidate;
    least_loaded_.OnCandidatesChanged();
  }
  void SetInFlight(const std::vector<double>& in_flight) {
    for (size_t i = 0; i < in_flight.size(); ++i) loads_[i].in_flight = in_flight[i];
  }
  size_t Pick(const std::vector<size_t>& excluded = {}) {
    return least_loaded_.Pick(*table_, draws_, loads_, random_, excluded);
  }
  std::vector<double> Shares(int picks = kPicks, const std::vector<size_t>& excluded = {}) {
    std::vector<double> shares(loads_.size(), 0);
    for (int i = 0; i < picks; ++i) ++shares[Pick(excluded)];
    for (double& share : shares) share /= picks;
    return shares;
  }

  std::shared_ptr<const AliasTable> table_;
  Balancer draws_;
  LeastLoaded least_loaded_;
  Loads loads_;
  FastRandom random_{1};
};

TEST_F(LeastLoadedTest, BestOfAllWinsAlways) {
  Start({4, 2, 1, 1});
  SetInFlight({40, 20, 9, 10});
  for (int i = 0; i < static_cast<int>(LeastLoaded::kBurst); ++i) EXPECT_EQ(Pick(), 2u);
}

TEST_F(LeastLoadedTest, LoadCountsInProportionToTheWeight) {
  Start({10, 1});
  SetInFlight({9, 1});
  EXPECT_EQ(Pick(), 0u);
  SetInFlight({16, 1});
  EXPECT_EQ(Pick(), 1u);
}

// One flow at a server of weight 9 is less for it than one would be for a server of weight 1.
TEST_F(LeastLoadedTest, FlowStaysWithALargeServerThatHasOne) {
  Start({9, 1});
  SetInFlight({1, 0});
  const std::vector<double> shares = Shares();
  EXPECT_NEAR(shares[0], 0.9, Tolerance(0.9));
}

TEST_F(LeastLoadedTest, OneOfEqualServersThatIsIdleGetsTheNextFlow) {
  Start({1, 1});
  SetInFlight({1, 0});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Pick(), 1u);
}

TEST_F(LeastLoadedTest, IdleServersBesideABusyOneGetEqualShares) {
  Start({1, 1, 1, 1});
  SetInFlight({9, 0, 0, 0});
  const std::vector<double> shares = Shares();
  EXPECT_EQ(shares[0], 0);
  for (size_t i = 1; i < 4; ++i) EXPECT_NEAR(shares[i], 1 / 3.0, Tolerance(1 / 3.0)) << i;
}

class LeastLoadedIdleTest : public LeastLoadedTest,
                            public ::testing::WithParamInterface<Weights> {};

TEST_P(LeastLoadedIdleTest, IdleEndpointsGetExactlyTheirWeights) {
  Start(GetParam());
  const Weights expected = Normalized(GetParam());
  const std::vector<double> shares = Shares();
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(shares[i], expected[i], Tolerance(expected[i])) << "endpoint " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, LeastLoadedIdleTest,
                         ::testing::Values(Weights{1}, Weights{1, 1}, Weights{4, 2, 1, 1},
                                           Weights{0.001, 1000}, Weights{3, 0, 5, 0, 2},
                                           Weights(6, 7.0)));

// A server that fails fast has nothing in flight whenever a flow starts.
TEST_F(LeastLoadedTest, NoEndpointDrawsMoreThanTwoDrawsWouldGiveIt) {
  const Weights weights = {4, 2, 1, 1, 0.5};
  const Weights p = Normalized(weights);
  for (size_t magnet = 0; magnet < weights.size(); ++magnet) {
    Start(weights);
    SetInFlight(std::vector<double>(weights.size(), 1000));
    loads_[magnet].in_flight = 0;
    const double bound = 1 - (1 - p[magnet]) * (1 - p[magnet]);
    const double burst = LeastLoaded::kBurst / kPicks;
    EXPECT_NEAR(Shares()[magnet], bound, burst + 1e-9) << "endpoint " << magnet;
  }
}

TEST_F(LeastLoadedTest, CreditIsNotSavedBeyondABurst) {
  Start({1, 1, 1, 1});
  SetInFlight({0, 9, 9, 9});
  Shares(1000);
  SetInFlight({9, 0, 0, 0});
  Shares(100'000);
  SetInFlight({0, 9, 9, 9});
  const double bound = 1 - 0.75 * 0.75;
  EXPECT_LE(Shares(1000)[0] * 1000, 1000 * bound + LeastLoaded::kBurst);
}

// The bound counts among those that can be picked: two of four equal endpoints get three quarters
// of the flows each if they are the better one.
TEST_F(LeastLoadedTest, BoundFollowsTheCandidates) {
  Start({1, 1, 1, 1});
  SetCandidate(2, false);
  SetCandidate(3, false);
  SetInFlight({0, 9, 0, 0});
  const double burst = LeastLoaded::kBurst / kPicks;
  EXPECT_NEAR(Shares()[0], 0.75, burst + 1e-9);
}

TEST_F(LeastLoadedTest, LastCandidateIsPicked) {
  Start({1, 1, 1});
  SetInFlight({0, 9, 9});
  Shares(1000);
  EXPECT_EQ(Shares(1000, {1, 2})[0], 1);
  EXPECT_EQ(Pick({0, 1, 2}), Balancer::kNone);
  for (size_t i = 0; i < 3; ++i) SetCandidate(i, false);
  EXPECT_EQ(Pick(), Balancer::kNone);
}

TEST_F(LeastLoadedTest, EndpointWithoutWeightIsNeverPicked) {
  Start({0, 1, 0, 1});
  SetInFlight({0, 5, 0, 6});
  const std::vector<double> shares = Shares();
  EXPECT_EQ(shares[0] + shares[2], 0);
}

}  // namespace
}  // namespace trunkline
