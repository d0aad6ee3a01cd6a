#include "dataplane/table/alias_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "common/base/random.h"

namespace trunkline {
namespace {

constexpr int kDraws = 200'000;

class AliasTableTest : public ::testing::TestWithParam<std::vector<double>> {};

TEST_P(AliasTableTest, DrawsFollowTheWeights) {
  const std::vector<double>& weights = GetParam();
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const AliasTable table(weights);
  ASSERT_EQ(table.size(), weights.size());
  EXPECT_DOUBLE_EQ(table.total_weight(), total);
  FastRandom random(1);
  std::vector<int> draws(weights.size(), 0);
  for (int i = 0; i < kDraws; ++i) ++draws[table.Draw(random)];
  for (size_t i = 0; i < weights.size(); ++i) {
    const double p = weights[i] / total;
    // Five standard deviations.
    EXPECT_NEAR(draws[i] / static_cast<double>(kDraws), p, 5 * std::sqrt(p * (1 - p) / kDraws));
    EXPECT_EQ(table.weight(i), weights[i]);
    EXPECT_EQ(table.inverse_weight(i), weights[i] > 0 ? 1 / weights[i] : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, AliasTableTest,
                         ::testing::Values(std::vector<double>{1}, std::vector<double>{4, 2, 1, 1},
                                           std::vector<double>{0.001, 1000},
                                           std::vector<double>{3, 0, 5, 0, 2},
                                           std::vector<double>{1e-9, 2e-9, 3e-9},
                                           std::vector<double>(500, 7.0)));

TEST(AliasTableEdgeTest, TableWithoutPositiveWeightIsEmpty) {
  EXPECT_TRUE(AliasTable().empty());
  EXPECT_TRUE(AliasTable(std::vector<double>{0, 0}).empty());
  EXPECT_EQ(AliasTable(std::vector<double>{0, 0}).size(), 2u);
  EXPECT_FALSE(AliasTable(std::vector<double>{0, 1}).empty());
}

}  // namespace
}  // namespace trunkline
