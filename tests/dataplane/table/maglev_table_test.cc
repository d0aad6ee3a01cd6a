#include "dataplane/table/maglev_table.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace trunkline {
namespace {

constexpr size_t kSlots = MaglevTable::kSlots;

std::vector<std::string> Names(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back(absl::StrCat("server-", i));
  return names;
}

MaglevTable Make(const std::vector<std::string>& names, const std::vector<double>& weights) {
  return MaglevTable(std::vector<std::string_view>(names.begin(), names.end()), weights);
}

std::vector<double> Shares(const MaglevTable& table, size_t count) {
  std::vector<double> shares(count, 0);
  for (uint64_t slot = 0; slot < kSlots; ++slot) shares[table.At(slot, 0)] += 1.0 / kSlots;
  return shares;
}

// Computed by another program: proxies of all builds must send a client to the same server.
TEST(MaglevTableTest, HashIsTheSameInEveryBuild) {
  EXPECT_EQ(StableHash(""), 0xf52a15e9a9b5e89bu);
  EXPECT_EQ(StableHash("server-1"), 0x59f489855ba761bu);
}

TEST(MaglevTableTest, EqualEndpointsHaveEqualShares) {
  for (const size_t count : {1, 2, 3, 100}) {
    const MaglevTable table = Make(Names(count), std::vector<double>(count, 1.0));
    for (const double share : Shares(table, count)) {
      EXPECT_NEAR(share, 1.0 / static_cast<double>(count), 2.0 / kSlots);
    }
  }
}

TEST(MaglevTableTest, SharesFollowTheWeights) {
  const std::vector<double> weights = {4, 2, 1, 1, 0};
  const std::vector<double> shares = Shares(Make(Names(5), weights), 5);
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(shares[i], weights[i] / 8, 0.001) << i;
}

// In a table of 100, each endpoint has 1 % of the slots. Those must move, and few others.
TEST(MaglevTableTest, FewSlotsMoveWhenAnEndpointLeaves) {
  const std::vector<std::string> names = Names(100);
  std::vector<double> weights(100, 1.0);
  const MaglevTable before = Make(names, weights);
  weights[37] = 0;
  const MaglevTable after = Make(names, weights);
  size_t moved = 0;
  for (uint64_t slot = 0; slot < kSlots; ++slot) {
    moved += before.At(slot, 0) != 37 && before.At(slot, 0) != after.At(slot, 0) ? 1 : 0;
  }
  EXPECT_LT(static_cast<double>(moved) / kSlots, 0.02);
}

TEST(MaglevTableTest, IdsAndNotPlacesInTheListDecide) {
  const MaglevTable all = Make({"a", "b", "c"}, {1, 1, 1});
  const MaglevTable with_another = Make({"0", "a", "b", "c"}, {0, 1, 1, 1});
  for (uint64_t slot = 0; slot < kSlots; ++slot) {
    ASSERT_EQ(all.At(slot, 0) + 1, with_another.At(slot, 0));
  }
}

TEST(MaglevTableTest, LaterAttemptsReachAllEndpoints) {
  const MaglevTable table = Make({"a", "b", "c"}, {1, 1, 1});
  for (uint64_t hash = 0; hash < 1000; ++hash) {
    std::vector<bool> reached(3, false);
    for (size_t attempt = 0; attempt < 64; ++attempt) reached[table.At(hash, attempt)] = true;
    ASSERT_TRUE(reached[0] && reached[1] && reached[2]) << hash;
  }
}

TEST(MaglevTableTest, TableWithoutWeightsIsEmpty) {
  EXPECT_TRUE(Make({}, {}).empty());
  EXPECT_TRUE(Make({"a"}, {0}).empty());
  EXPECT_FALSE(Make({"a"}, {1}).empty());
}

}  // namespace
}  // namespace trunkline
