#include "agent/sample/throttle_meter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/cgroup/cgroup_files.h"

namespace trunkline {
namespace {

constexpr absl::Duration kSecond = absl::Seconds(1);

MonotonicTime At(int seconds) { return MonotonicTime::FromNanos(int64_t{seconds} * 1'000'000'000); }

std::map<std::string, CpuThrottling> Group(double periods, double throttled, double seconds) {
  return {{"/group",
           {.periods = periods, .throttled_periods = throttled, .throttled_seconds = seconds}}};
}

TEST(ThrottleMeterTest, ShareIsTheStoppedTimeOverTheWindow) {
  ThrottleMeter meter;
  meter.Add(At(0), Group(100, 50, 7));
  meter.Add(At(1), Group(110, 60, 7.4));
  EXPECT_NEAR(meter.Share(kSecond).value(), 0.4, 1e-9);
  meter.Add(At(2), Group(120, 60, 7.4));
  EXPECT_DOUBLE_EQ(meter.Share(kSecond).value(), 0);
  EXPECT_NEAR(meter.Share(absl::Seconds(2)).value(), 0.2, 1e-9);
}

TEST(ThrottleMeterTest, TimeOfSeveralCoresIsNoMoreThanTheShareOfPeriods) {
  ThrottleMeter meter;
  meter.Add(At(0), Group(0, 0, 0));
  // Eight threads were stopped for 50 ms each in one period of ten.
  meter.Add(At(1), Group(10, 1, 0.4));
  EXPECT_DOUBLE_EQ(meter.Share(kSecond).value(), 0.1);
  meter.Add(At(2), Group(20, 11, 6.4));
  EXPECT_DOUBLE_EQ(meter.Share(kSecond).value(), 1) << "never above 1";
}

TEST(ThrottleMeterTest, IdleGroupIsNotThrottled) {
  ThrottleMeter meter;
  meter.Add(At(0), Group(100, 50, 7));
  meter.Add(At(1), Group(100, 50, 7));
  EXPECT_DOUBLE_EQ(meter.Share(kSecond).value(), 0);
}

TEST(ThrottleMeterTest, ShareIsUnknownUntilAGroupIsReadTwiceAndAfterItIsGone) {
  ThrottleMeter meter;
  EXPECT_EQ(meter.Share(kSecond), std::nullopt);
  meter.Add(At(0), Group(0, 0, 0));
  EXPECT_EQ(meter.Share(kSecond), std::nullopt);
  meter.Add(At(1), Group(10, 0, 0));
  EXPECT_EQ(meter.Share(kSecond), 0);
  meter.Add(At(2), {});
  EXPECT_EQ(meter.Share(kSecond), std::nullopt);
  meter.Add(At(3), Group(20, 10, 1));
  EXPECT_EQ(meter.Share(kSecond), std::nullopt) << "another group may have its name";
}

TEST(ThrottleMeterTest, QuotaThatStopsAGroupMostCounts) {
  ThrottleMeter meter;
  const CpuThrottling none = {.periods = 0, .throttled_periods = 0, .throttled_seconds = 0};
  meter.Add(At(0), {{"/a", none}, {"/a/b", none}});
  meter.Add(At(1), {{"/a", {.periods = 10, .throttled_periods = 5, .throttled_seconds = 0.3}},
                    {"/a/b", {.periods = 10, .throttled_periods = 1, .throttled_seconds = 0.1}}});
  EXPECT_DOUBLE_EQ(meter.Share(kSecond).value(), 0.3);
}

}  // namespace
}  // namespace trunkline
