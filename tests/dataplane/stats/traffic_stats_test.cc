#include "dataplane/stats/traffic_stats.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace trunkline {
namespace {

TEST(TrafficStatsTest, EndpointKeepsItsCountersWhileTheyAreReferenced) {
  TrafficStats stats(2);
  const auto first = stats.Endpoint("db", "a");
  first->cell(1).flows.Add(3);
  EXPECT_EQ(stats.Endpoint("db", "a"), first);
  EXPECT_NE(stats.Endpoint("web", "a"), first);
  EXPECT_EQ(stats.Endpoints().size(), 1u) << "the other one is not referenced";
}

TEST(TrafficStatsTest, DroppedEndpointCountsFromZero) {
  TrafficStats stats(1);
  stats.Endpoint("db", "a")->cell(0).flows.Add(3);
  EXPECT_TRUE(stats.Endpoints().empty());
  EXPECT_EQ(stats.Endpoint("db", "a")->cell(0).flows.Value(), 0u);
}

// Endpoints come and go constantly if servers are containers.
TEST(TrafficStatsTest, ReferencedEndpointsAreFoundAmongManyDroppedOnes) {
  TrafficStats stats(1);
  std::vector<std::shared_ptr<EndpointStats>> living;
  for (int i = 0; i < 5'000; ++i) {
    auto endpoint = stats.Endpoint("db", absl::StrCat("e", i));
    if (i % 100 == 0) living.push_back(std::move(endpoint));
  }
  EXPECT_EQ(stats.Endpoints().size(), living.size());
  for (const auto& endpoint : living) {
    EXPECT_EQ(stats.Endpoint("db", endpoint->endpoint_id), endpoint);
  }
}

}  // namespace
}  // namespace trunkline
