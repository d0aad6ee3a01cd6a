#include "dataplane/check/check_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace trunkline {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(10);
constexpr uint64_t kSeed = 7;

std::vector<absl::Duration> Waits(double jitter, uint64_t seed = kSeed) {
  CheckSchedule schedule(seed);
  schedule.Next(kInterval, jitter);
  std::vector<absl::Duration> waits(1'000);
  for (absl::Duration& wait : waits) wait = schedule.Next(kInterval, jitter);
  return waits;
}

TEST(CheckScheduleTest, WaitsAreLongerAndShorterThanTheIntervalByUpToTheJitter) {
  const std::vector<absl::Duration> waits = Waits(0.2);
  const auto [least, most] = std::ranges::minmax(waits);
  EXPECT_GE(least, absl::Seconds(8));
  EXPECT_LT(least, absl::Seconds(8.1));
  EXPECT_LE(most, absl::Seconds(12));
  EXPECT_GT(most, absl::Seconds(11.9));
  absl::Duration sum;
  for (const absl::Duration wait : waits) sum += wait;
  EXPECT_NEAR(sum / kInterval / 1'000.0, 1, 0.02) << "the interval on average";
}

TEST(CheckScheduleTest, WaitsWithoutJitterAreTheInterval) {
  for (const absl::Duration wait : Waits(0)) ASSERT_EQ(wait, kInterval);
}

TEST(CheckScheduleTest, ProxiesDrift) { EXPECT_NE(Waits(0.1, 1), Waits(0.1, 2)); }

TEST(CheckScheduleTest, FirstWaitsAreSpreadOverTheInterval) {
  std::vector<absl::Duration> waits;
  for (uint64_t seed = 0; seed < 1'000; ++seed) {
    waits.push_back(CheckSchedule(seed).Next(kInterval, 0));
  }
  const auto [least, most] = std::ranges::minmax(waits);
  EXPECT_GE(least, absl::ZeroDuration());
  EXPECT_LT(least, absl::Seconds(0.1));
  EXPECT_LT(most, kInterval);
  EXPECT_GT(most, absl::Seconds(9.9));
}

}  // namespace
}  // namespace trunkline
