#include "dataplane/limits/descriptor_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>

namespace trunkline {
namespace {

TEST(DescriptorPlanTest, AnEighthOfTheUnreservedDescriptorsIsForPipesAndHealthChecks) {
  // 1024 - 256 = 768 and 768 / 8 = 96: a quarter for checks, which is 24, and 36 pipes.
  const DescriptorPlan plan = DescriptorPlan::For(1024, 4);
  EXPECT_EQ(plan.checks_per_worker, 6u);
  EXPECT_EQ(plan.pipes_per_worker, 9u);
  EXPECT_EQ(plan.sockets, 768u - 96u) << "checks cost no client's descriptor";
  EXPECT_EQ(plan.late_sockets, 128u);
}

TEST(DescriptorPlanTest, HalfOfALowLimitIsReserved) {
  const DescriptorPlan plan = DescriptorPlan::For(100, 1);
  // 50 / 8 = 6: one for checks, and two pipes.
  EXPECT_EQ(plan.checks_per_worker, 1u);
  EXPECT_EQ(plan.pipes_per_worker, 2u);
  EXPECT_EQ(plan.sockets, 50u - 5u);
}

TEST(DescriptorPlanTest, HealthChecksTakeNothingFromClients) {
  for (size_t limit = 1; limit < 3'000; ++limit) {
    for (const size_t workers : {1, 2, 3, 64}) {
      const DescriptorPlan plan = DescriptorPlan::For(limit, workers);
      const size_t unreserved = limit - std::min<size_t>(256, limit / 2);
      const size_t only_pipes = unreserved / 8 / 2 / workers * 2 * workers;
      EXPECT_GE(plan.sockets, unreserved - only_pipes) << limit << " for " << workers;
    }
  }
}

TEST(DescriptorPlanTest, NeverMoreThanTheLimit) {
  for (const size_t limit : {1, 2, 3, 16, 64, 511, 512, 513, 1 << 20}) {
    for (const size_t workers : {1, 3, 64}) {
      const DescriptorPlan plan = DescriptorPlan::For(limit, workers);
      const size_t separate = (2 * plan.pipes_per_worker + plan.checks_per_worker) * workers;
      EXPECT_LE(plan.sockets + plan.late_sockets + separate, limit);
      EXPECT_GE(plan.sockets, limit * 7 / 32) << limit;
    }
  }
}

}  // namespace
}  // namespace trunkline
