#include "dataplane/route/rotation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;

class RotationTest : public ::testing::Test {
 protected:
  void Start(const std::vector<double>& weights, uint64_t seed = 1) {
    table_ = AliasTable(weights);
    FastRandom random(seed);
    rotation_.Reset(table_, random);
    loads_.assign(weights.size(), {});
  }
  size_t Next(const std::vector<size_t>& excluded = {}) {
    return rotation_.Next(table_, loads_, excluded);
  }
  std::vector<int> Counts(int picks, const std::vector<size_t>& excluded = {}) {
    std::vector<int> counts(loads_.size(), 0);
    for (int i = 0; i < picks; ++i) ++counts[Next(excluded)];
    return counts;
  }

  AliasTable table_;
  Rotation rotation_;
  std::vector<Balancer::Load> loads_;
};

TEST_F(RotationTest, EqualEndpointsTakeTurns) {
  Start({1, 1, 1});
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ((std::set<size_t>{Next(), Next(), Next()}).size(), 3u);
  }
}

TEST_F(RotationTest, TurnsAreInExactProportionToTheWeights) {
  Start({4, 2, 1, 1});
  for (int round = 0; round < 10; ++round) EXPECT_THAT(Counts(8), ElementsAre(4, 2, 1, 1));
}

TEST_F(RotationTest, LoadDoesNotCount) {
  Start({1, 1});
  loads_[0].in_flight = 1000;
  EXPECT_THAT(Counts(10), ElementsAre(5, 5));
}

// Many workers that all began with the first endpoint would send it a burst.
TEST_F(RotationTest, FirstTurnIsAtRandom) {
  std::set<size_t> first;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Start({1, 1, 1}, seed);
    first.insert(Next());
  }
  EXPECT_THAT(first, ElementsAre(0, 1, 2));
}

TEST_F(RotationTest, EndpointThatReturnsMakesUpForNoTurns) {
  Start({1, 1, 1});
  loads_[0].candidate = false;
  EXPECT_THAT(Counts(100), ElementsAre(0, 50, 50));
  loads_[0].candidate = true;
  for (int round = 0; round < 10; ++round) EXPECT_NEAR(Counts(30)[0], 10, 1);
}

TEST_F(RotationTest, ExcludedEndpointKeepsItsTurn) {
  Start({1, 1});
  const size_t first = Next();
  EXPECT_EQ(Next({1 - first}), first);
  EXPECT_EQ(Next(), 1 - first);
}

TEST_F(RotationTest, EndpointWithoutWeightHasNoTurn) {
  Start({0, 1, 0});
  EXPECT_THAT(Counts(10), ElementsAre(0, 10, 0));
}

TEST_F(RotationTest, WithoutCandidatesNothingIsPicked) {
  Start({1, 1});
  EXPECT_EQ(Next({0, 1}), Balancer::kNone);
  loads_[0].candidate = loads_[1].candidate = false;
  EXPECT_EQ(Next(), Balancer::kNone);
  Start({});
  EXPECT_EQ(Next(), Balancer::kNone);
}

}  // namespace
}  // namespace trunkline
