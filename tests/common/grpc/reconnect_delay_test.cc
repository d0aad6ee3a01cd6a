#include "common/grpc/reconnect_delay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/grpc/controller_channel.h"

namespace trunkline {
namespace {

constexpr absl::Duration kInitial = kReconnectBackoff.initial;

TEST(ReconnectDelayTest, FirstDelayAfterALongStreamIsNearlyNoneAndJittered) {
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    ReconnectDelay delay(seed);
    delay.OnStreamEnd(absl::Hours(1));
    const absl::Duration first = delay.Next();
    least = std::min(least, first);
    most = std::max(most, first);
  }
  EXPECT_LT(most, ReconnectDelay::kAtOnce);
  EXPECT_GT(most - least, ReconnectDelay::kAtOnce / 2) << "a fleet must not return in step";
}

// A controller that restarts refuses connects for about a second.
TEST(ReconnectDelayTest, DelaysStayShortForTwoSecondsAfterALongStream) {
  ReconnectDelay delay(/*seed=*/1);
  delay.OnStreamEnd(absl::Hours(1));
  absl::Duration passed = delay.Next();
  while (passed < absl::Seconds(1)) {
    const absl::Duration next = delay.Next();
    EXPECT_LE(next, kInitial);
    EXPECT_GE(next, kInitial / 2);
    passed += next;
  }
}

TEST(ReconnectDelayTest, DelaysGrowIfTheControllerStaysAway) {
  ReconnectDelay delay(/*seed=*/1);
  delay.OnStreamEnd(absl::Hours(1));
  absl::Duration longest;
  for (int i = 0; i < 30; ++i) longest = std::max(longest, delay.Next());
  EXPECT_GE(longest, kReconnectBackoff.max / 2);
}

// Two agents with one id end each other's streams; they must not do so as fast as they can.
TEST(ReconnectDelayTest, StreamsThatEndSoonAreNotReopenedAtOnce) {
  ReconnectDelay delay(/*seed=*/1);
  for (int i = 0; i < 5; ++i) {
    delay.OnStreamEnd(absl::Seconds(1));
    EXPECT_GE(delay.Next(), kInitial / 2);
  }
}

}  // namespace
}  // namespace trunkline
