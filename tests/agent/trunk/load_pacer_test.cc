#include "agent/trunk/load_pacer.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(1);

class LoadPacerTest : public ::testing::Test {
 protected:
  // Whether it says so; then it is said.
  bool Say(const ServerLoad& load, absl::Duration at) {
    const MonotonicTime now = MonotonicTime() + absl::Hours(1) + at;
    const bool due = pacer_.Due(0, load, now);
    if (due) pacer_.OnSent(0, load, now);
    return due;
  }

  LoadPacer pacer_{2};
};

TEST_F(LoadPacerTest, FirstWordIsSaidAtOnce) {
  EXPECT_TRUE(Say({}, absl::ZeroDuration()));
  EXPECT_TRUE(pacer_.Due(1, {}, MonotonicTime())) << "each service has its own";
}

TEST_F(LoadPacerTest, ChangesAreSaidFiftyMillisecondsApart) {
  Say({.active = 1}, absl::ZeroDuration());
  EXPECT_FALSE(Say({.active = 2}, LoadPacer::kGap - kTick));
  EXPECT_TRUE(Say({.active = 2}, LoadPacer::kGap));
}

// 10 s of a load that changes all the time, looked at every millisecond.
TEST_F(LoadPacerTest, RestlessServerSaysTwentyWordsASecond) {
  int said = 0;
  for (int i = 0; i < 10'000; ++i) said += Say({.active = static_cast<uint32_t>(i)}, i * kTick);
  EXPECT_EQ(said, 10 * 20);
}

TEST_F(LoadPacerTest, UnchangedLoadIsRepeatedEveryTwoSeconds) {
  Say({.active = 7, .utilization = 500}, absl::ZeroDuration());
  EXPECT_FALSE(Say({.active = 7, .utilization = 500}, LoadPacer::kRepeat - kTick));
  EXPECT_TRUE(Say({.active = 7, .utilization = 500}, LoadPacer::kRepeat));
}

TEST_F(LoadPacerTest, TremblingUtilizationIsNoNews) {
  Say({.utilization = 500}, absl::ZeroDuration());
  EXPECT_FALSE(Say({.utilization = 509}, LoadPacer::kGap));
  EXPECT_FALSE(Say({.utilization = 491}, LoadPacer::kGap));
  EXPECT_TRUE(Say({.utilization = 510}, LoadPacer::kGap));
  EXPECT_TRUE(Say({.utilization = 500}, 2 * LoadPacer::kGap));
}

TEST_F(LoadPacerTest, UtilizationThatBecomesKnownIsNews) {
  Say({}, absl::ZeroDuration());
  EXPECT_TRUE(Say({.utilization = ServerLoad::kMaxUtilization}, LoadPacer::kGap));
  EXPECT_TRUE(Say({}, 2 * LoadPacer::kGap));
}

}  // namespace
}  // namespace trunkline
