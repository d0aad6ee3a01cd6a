#include "common/trunk/trunk_congestion.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

using Level = TrunkCongestion::Level;

constexpr uint64_t kMiB = 1024 * 1024;

MonotonicTime At(int64_t millis) {
  return MonotonicTime() + absl::Milliseconds(3'600'000 + millis);
}

TEST(TrunkCongestionTest, NewTrunkIsAtEase) {
  const TrunkCongestion strain;
  EXPECT_EQ(strain.level(At(0)), Level::kNone);
  EXPECT_TRUE(strain.LookDue(At(0)));
}

TEST(TrunkCongestionTest, BurstThatTheKernelTakesSoonIsNoCongestion) {
  TrunkCongestion strain;
  strain.OnBehind(At(0));
  EXPECT_EQ(strain.level(At(49)), Level::kNone);
  strain.OnCaughtUp();
  EXPECT_EQ(strain.level(At(500)), Level::kNone);
}

TEST(TrunkCongestionTest, WhatTheKernelDoesNotTakeForAWhileHoldsUpAndIsOverWhenItIsTaken) {
  TrunkCongestion strain;
  strain.OnBehind(At(0));
  strain.OnBehind(At(40));
  EXPECT_EQ(strain.level(At(50)), Level::kHeldUp) << "since the first time";
  strain.OnCaughtUp();
  EXPECT_EQ(strain.level(At(51)), Level::kNone);
}

TEST(TrunkCongestionTest, BulkIsRememberedForASecondWhicheverWayItWent) {
  TrunkCongestion strain;
  strain.Look(At(0), {.bytes = 100 * kMiB});
  EXPECT_FALSE(strain.LookDue(At(99)));
  ASSERT_TRUE(strain.LookDue(At(100)));
  strain.Look(At(100), {.bytes = 107 * kMiB});
  EXPECT_EQ(strain.level(At(100)), Level::kNone) << "70 MiB a second";
  strain.Look(At(200), {.bytes = 115 * kMiB});
  EXPECT_EQ(strain.level(At(200)), Level::kBulk) << "80 MiB a second";
  strain.Look(At(300), {.bytes = 115 * kMiB});
  EXPECT_EQ(strain.level(At(1199)), Level::kBulk);
  EXPECT_EQ(strain.level(At(1200)), Level::kNone);
}

TEST(TrunkCongestionTest, BytesOfALongTimeAreNoBulk) {
  TrunkCongestion strain;
  strain.Look(At(0), {.bytes = 0});
  strain.Look(At(60'000), {.bytes = 1000 * kMiB});
  EXPECT_EQ(strain.level(At(60'000)), Level::kNone);
}

TEST(TrunkCongestionTest, PathThatLosesSegmentsHoldsUp) {
  TrunkCongestion strain;
  strain.Look(At(0), {.segments = 1'000'000, .resent = 1000});
  EXPECT_EQ(strain.level(At(0)), Level::kNone) << "one in a thousand";
  strain.Look(At(100), {.segments = 1'000'100, .resent = 1002});
  EXPECT_EQ(strain.level(At(100)), Level::kNone) << "two of them may be chance";
  strain.Look(At(200), {.segments = 1'001'100, .resent = 1022});
  EXPECT_EQ(strain.level(At(200)), Level::kNone) << "20 of 1,000";
  strain.Look(At(300), {.segments = 1'002'100, .resent = 1043});
  EXPECT_EQ(strain.level(At(300)), Level::kHeldUp) << "21 of 1,000";
  EXPECT_EQ(strain.level(At(1300)), Level::kNone);
}

TEST(TrunkCongestionTest, HeldUpIsWorseThanBulkAndBulkThanNothing) {
  EXPECT_LT(Level::kNone, Level::kBulk);
  EXPECT_LT(Level::kBulk, Level::kHeldUp);
}

}  // namespace
}  // namespace trunkline
