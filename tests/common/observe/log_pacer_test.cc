#include "common/observe/log_pacer.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

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

TEST(PeerLogPacerTest, EachPeerIsLoggedOncePerMinute) {
  PeerLogPacer pacer;
  MonotonicTime now = MonotonicTime() + absl::Hours(1);
  EXPECT_EQ(pacer.Admit("10.0.0.1", now), "");
  EXPECT_EQ(pacer.Admit("10.0.0.1", now), std::nullopt);
  EXPECT_EQ(pacer.Admit("10.0.0.2", now), "") << "another peer is not hidden by the first";
  now = now + absl::Minutes(1);
  EXPECT_EQ(pacer.Admit("10.0.0.1", now), " (1 more like this were not logged before)");
  EXPECT_EQ(pacer.Admit("10.0.0.2", now), "");
}

TEST(PeerLogPacerTest, FloodFromManyPeersIsBounded) {
  PeerLogPacer pacer;
  MonotonicTime now = MonotonicTime() + absl::Hours(1);
  size_t lines = 0;
  for (size_t i = 0; i < 10 * PeerLogPacer::kMaxPeers; ++i) {
    if (pacer.Admit(absl::StrCat("peer-", i), now).has_value()) ++lines;
  }
  EXPECT_EQ(lines, PeerLogPacer::kMaxPeers + 1);
  // Peers that fell silent make room for others.
  now = now + absl::Minutes(1);
  EXPECT_EQ(pacer.Admit("newcomer", now), "");
  EXPECT_EQ(pacer.Admit("another", now), "");
}

}  // namespace
}  // namespace trunkline
