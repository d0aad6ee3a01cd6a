#include "common/trunk/trunk_congestion.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

using Level = TrunkCongestion::Level;

constexpr uint64_t kMiB = 1024 * 1024;

MonotonicTime At(int64_t millis) {
  return MonotonicTime() + absl::Milliseconds(3'600'000 + millis);
}

TEST(TrunkCongestionTest, NewTrunkIsNotCongested) {
  const TrunkCongestion congestion;
  EXPECT_EQ(congestion.level(At(0)), Level::kNone);
  EXPECT_TRUE(congestion.MeasurementDue(At(0)));
}

TEST(TrunkCongestionTest, BurstThatTheKernelAcceptsSoonIsNoCongestion) {
  TrunkCongestion congestion;
  congestion.OnBehind(At(0));
  EXPECT_EQ(congestion.level(At(49)), Level::kNone);
  congestion.OnCaughtUp();
  EXPECT_EQ(congestion.level(At(500)), Level::kNone);
}

TEST(TrunkCongestionTest, StandingSendBacklogBlocksUntilTheKernelAcceptsIt) {
  TrunkCongestion congestion;
  congestion.OnBehind(At(0));
  congestion.OnBehind(At(40));
  EXPECT_EQ(congestion.level(At(50)), Level::kBlocked) << "since the first time";
  congestion.OnCaughtUp();
  EXPECT_EQ(congestion.level(At(51)), Level::kNone);
}

TEST(TrunkCongestionTest, BulkInEitherDirectionIsRememberedForOneSecond) {
  TrunkCongestion congestion;
  congestion.Measure(At(0), {.bytes = 100 * kMiB});
  EXPECT_FALSE(congestion.MeasurementDue(At(99)));
  ASSERT_TRUE(congestion.MeasurementDue(At(100)));
  congestion.Measure(At(100), {.bytes = 107 * kMiB});
  EXPECT_EQ(congestion.level(At(100)), Level::kNone) << "70 MiB per second";
  congestion.Measure(At(200), {.bytes = 115 * kMiB});
  EXPECT_EQ(congestion.level(At(200)), Level::kBulk) << "80 MiB per second";
  congestion.Measure(At(300), {.bytes = 115 * kMiB});
  EXPECT_EQ(congestion.level(At(1199)), Level::kBulk);
  EXPECT_EQ(congestion.level(At(1200)), Level::kNone);
}

TEST(TrunkCongestionTest, BytesSpreadOverALongTimeAreNoBulk) {
  TrunkCongestion congestion;
  congestion.Measure(At(0), {.bytes = 0});
  congestion.Measure(At(60'000), {.bytes = 1000 * kMiB});
  EXPECT_EQ(congestion.level(At(60'000)), Level::kNone);
}

TEST(TrunkCongestionTest, RetransmitsBlock) {
  TrunkCongestion congestion;
  congestion.Measure(At(0), {.segments = 1'000'000, .resent = 1000});
  EXPECT_EQ(congestion.level(At(0)), Level::kNone) << "one in a thousand";
  congestion.Measure(At(100), {.segments = 1'000'100, .resent = 1002});
  EXPECT_EQ(congestion.level(At(100)), Level::kNone) << "two of them may be chance";
  congestion.Measure(At(200), {.segments = 1'001'100, .resent = 1022});
  EXPECT_EQ(congestion.level(At(200)), Level::kNone) << "20 of 1,000";
  congestion.Measure(At(300), {.segments = 1'002'100, .resent = 1043});
  EXPECT_EQ(congestion.level(At(300)), Level::kBlocked) << "21 of 1,000";
  EXPECT_EQ(congestion.level(At(1300)), Level::kNone);
}

TEST(TrunkCongestionTest, LevelsAreOrderedNoneBulkBlocked) {
  EXPECT_LT(Level::kNone, Level::kBulk);
  EXPECT_LT(Level::kBulk, Level::kBlocked);
}

}  // namespace
}  // namespace trunkline
