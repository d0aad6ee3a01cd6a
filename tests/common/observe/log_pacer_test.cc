#include "common/observe/log_pacer.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

TEST(LogPacerTest, FirstEventIsLoggedAndAFloodOnlyOncePerInterval) {
  LogPacer pacer;
  MonotonicTime now = MonotonicTime::FromNanos(1);
  EXPECT_EQ(pacer.Admit(now), "");
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(pacer.Admit(now), std::nullopt);
  now = now + LogPacer::kInterval - absl::Nanoseconds(1);
  EXPECT_EQ(pacer.Admit(now), std::nullopt);
  now = now + absl::Nanoseconds(1);
  EXPECT_EQ(pacer.Admit(now), " (1001 more like this were not logged before)");
  EXPECT_EQ(pacer.Admit(now), std::nullopt);
  now = now + LogPacer::kInterval;
  EXPECT_EQ(pacer.Admit(now), " (1 more like this were not logged before)");
}

TEST(LogPacerTest, EventsAtLeastAnIntervalApartAreAllLogged) {
  LogPacer pacer;
  MonotonicTime now = MonotonicTime::FromNanos(1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pacer.Admit(now), "");
    now = now + LogPacer::kInterval;
  }
}

}  // namespace
}  // namespace trunkline
