#include "agent/trunk/load_pacer.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(1);

class LoadPacerTest : public ::testing::Test {
 protected:
  // Sends the report if it is due. Returns true if it was.
  bool SendIfDue(const ServerLoad& load, absl::Duration at) {
    const MonotonicTime now = MonotonicTime() + absl::Hours(1) + at;
    const bool due = pacer_.Due(0, load, now);
    if (due) pacer_.OnSent(0, load, now);
    return due;
  }

  LoadPacer pacer_{2};
};

TEST_F(LoadPacerTest, FirstReportIsSentAtOnce) {
  EXPECT_TRUE(SendIfDue({}, absl::ZeroDuration()));
  EXPECT_TRUE(pacer_.Due(1, {}, MonotonicTime())) << "each service has its own";
}

TEST_F(LoadPacerTest, ChangesAreSentFiftyMillisecondsApart) {
  SendIfDue({.active = 1}, absl::ZeroDuration());
  EXPECT_FALSE(SendIfDue({.active = 2}, LoadPacer::kGap - kTick));
  EXPECT_TRUE(SendIfDue({.active = 2}, LoadPacer::kGap));
}

// 10 s of a load that changes every millisecond.
TEST_F(LoadPacerTest, ChangingLoadIsSentTwentyTimesPerSecond) {
  int sent = 0;
  for (int i = 0; i < 10'000; ++i)
    sent += SendIfDue({.active = static_cast<uint32_t>(i)}, i * kTick);
  EXPECT_EQ(sent, 10 * 20);
}

TEST_F(LoadPacerTest, UnchangedLoadIsRepeatedEveryTwoSeconds) {
  SendIfDue({.active = 7, .utilization = 500}, absl::ZeroDuration());
  EXPECT_FALSE(SendIfDue({.active = 7, .utilization = 500}, LoadPacer::kRepeat - kTick));
  EXPECT_TRUE(SendIfDue({.active = 7, .utilization = 500}, LoadPacer::kRepeat));
}

TEST_F(LoadPacerTest, SmallChangesOfUtilizationAreNotSent) {
  SendIfDue({.utilization = 500}, absl::ZeroDuration());
  EXPECT_FALSE(SendIfDue({.utilization = 509}, LoadPacer::kGap));
  EXPECT_FALSE(SendIfDue({.utilization = 491}, LoadPacer::kGap));
  EXPECT_TRUE(SendIfDue({.utilization = 510}, LoadPacer::kGap));
  EXPECT_TRUE(SendIfDue({.utilization = 500}, 2 * LoadPacer::kGap));
}

TEST_F(LoadPacerTest, FirstKnownUtilizationIsSent) {
  SendIfDue({}, absl::ZeroDuration());
  EXPECT_TRUE(SendIfDue({.utilization = ServerLoad::kMaxUtilization}, LoadPacer::kGap));
  EXPECT_TRUE(SendIfDue({}, 2 * LoadPacer::kGap));
}

}  // namespace
}  // namespace trunkline
