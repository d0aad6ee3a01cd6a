#include "dataplane/limits/descriptor_plan.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

TEST(DescriptorPlanTest, AnEighthOfTheUnreservedDescriptorsIsForPipes) {
  // 1024 - 256 = 768 and 768 / 8 = 96, which are 48 pipes for 4 workers.
  const DescriptorPlan plan = DescriptorPlan::For(1024, 4);
  EXPECT_EQ(plan.pipes_per_worker, 12u);
  EXPECT_EQ(plan.sockets, 768u - 96u);
  EXPECT_EQ(plan.late_sockets, 128u);
}

TEST(DescriptorPlanTest, HalfOfALowLimitIsReserved) {
  const DescriptorPlan plan = DescriptorPlan::For(100, 1);
  EXPECT_EQ(plan.pipes_per_worker, 3u);
  EXPECT_EQ(plan.sockets, 50u - 6u);
}

TEST(DescriptorPlanTest, NeverMoreThanTheLimit) {
  for (const size_t limit : {1, 2, 3, 16, 64, 511, 512, 513, 1 << 20}) {
    for (const size_t workers : {1, 3, 64}) {
      const DescriptorPlan plan = DescriptorPlan::For(limit, workers);
      EXPECT_LE(plan.sockets + plan.late_sockets + 2 * plan.pipes_per_worker * workers, limit);
      EXPECT_GE(plan.sockets, limit * 7 / 32) << limit;
    }
  }
}

}  // namespace
}  // namespace trunkline
