#include "agent/sample/port_watch.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"
#include "tests/agent/fixture_root.h"

namespace trunkline {
namespace {

constexpr uint16_t kPort = 9000;
constexpr uint64_t kNoLimit = 0;
const SystemFiles kHost;

MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>(seconds * 1e9));
}

class PortWatchPaceTest : public ::testing::Test {
 protected:
  // Writes the host's socket counts, including 100 sockets of IPv6.
  void HaveSockets(int count) {
    root_.Write("/proc/net/sockstat",
                absl::StrCat("sockets: used 9\nTCP: inuse ", count - 100, " orphan 0 tw 4\n"));
    root_.Write("/proc/net/sockstat6", "TCP6: inuse 100\nUDP6: inuse 1\n");
  }
  // Dumps at 0 s for `cost` and returns the second at which the next dump is due, at most 600.
  int NextDump(absl::Duration cost) {
    dump_.cost = cost;
    watch_.Update(At(0));
    return NextDue();
  }
  int NextDue() {
    int second = 1;
    while (second < 600 && !watch_.Due(At(second))) ++second;
    return second;
  }

  FixtureRoot root_;
  SystemFiles files_{root_.path()};
  SocketDump dump_;
  PortWatch watch_{
      files_, {kPort}, kNoLimit, [this](const std::vector<uint16_t>&) { return dump_; }};
};

TEST(PortWatchErrorTest, FailedDumpIsAnErrorUntilOneSucceeds) {
  absl::StatusOr<SocketDump> dump = absl::PermissionDeniedError("sock_diag: no");
  PortWatch watch(kHost, {kPort}, kNoLimit, [&](const std::vector<uint16_t>&) { return dump; });
  EXPECT_EQ(watch.Error(), "");
  watch.Update(At(0));
  EXPECT_EQ(watch.Error(), "sock_diag: no");
  dump = SocketDump();
  watch.Update(At(1));
  EXPECT_EQ(watch.Error(), "");
}

TEST_F(PortWatchPaceTest, ExpensiveDumpsAreRare) {
  HaveSockets(1000);
  EXPECT_TRUE(watch_.Due(At(0))) << "nothing is known yet";
  EXPECT_EQ(NextDump(absl::ZeroDuration()), 1);
  EXPECT_EQ(NextDump(absl::Milliseconds(10)), 10) << "10 ms every 10 s is a thousandth";
  EXPECT_EQ(NextDump(absl::Seconds(1)), 60) << "one minute at most";
}

// Without this, a socket dump visited 131,000 sockets in TIME_WAIT every ten seconds although
// nothing had changed.
TEST_F(PortWatchPaceTest, ChangedNumberOfSocketsMakesADumpDueEarly) {
  HaveSockets(8000);
  EXPECT_EQ(NextDump(absl::Milliseconds(10)), 10);
  HaveSockets(9999);
  EXPECT_EQ(NextDue(), 10) << "less than a quarter";
  HaveSockets(10000);
  EXPECT_EQ(NextDue(), 2) << "10 ms every 2 s is a two-hundredth";
  HaveSockets(6000);
  EXPECT_EQ(NextDue(), 2) << "fewer are a change as well";
  HaveSockets(8000);
  EXPECT_EQ(NextDump(absl::Seconds(1)), 60);
  HaveSockets(16000);
  EXPECT_EQ(NextDue(), 10) << "ten seconds at most";
}

TEST_F(PortWatchPaceTest, ChangeOfFewSocketsIsIgnored) {
  HaveSockets(101);
  EXPECT_EQ(NextDump(absl::Milliseconds(10)), 10);
  HaveSockets(1100);
  EXPECT_EQ(NextDue(), 10);
  HaveSockets(1101);
  EXPECT_EQ(NextDue(), 2);
}

// A server with a limit of 100 connections is full long before the host has 1,000 more sockets.
TEST_F(PortWatchPaceTest, ChangeIsRelativeToTheSmallestLimit) {
  PortWatch limited(files_, {kPort}, /*smallest_limit=*/100,
                    [this](const std::vector<uint16_t>&) { return dump_; });
  HaveSockets(8000);
  dump_.cost = absl::Milliseconds(10);
  limited.Update(At(0));
  HaveSockets(8011);
  EXPECT_FALSE(limited.Due(At(5)));
  HaveSockets(8012);
  EXPECT_TRUE(limited.Due(At(5)));
}

TEST_F(PortWatchPaceTest, HostWithoutSocketCountsCountsAsChanged) {
  EXPECT_EQ(NextDump(absl::Milliseconds(10)), 2);
  HaveSockets(1000);
  EXPECT_EQ(NextDue(), 2) << "the first dump had no socket count to compare with";
}

TEST_F(PortWatchPaceTest, HostWithoutIpv6HasASocketCount) {
  HaveSockets(1000);
  root_.Remove("/proc/net/sockstat6");
  EXPECT_EQ(NextDump(absl::Milliseconds(10)), 10);
}

// One dump covers all services, so that its cost does not grow with their number.
TEST(PortWatchTest, ManyServicesCostNoMoreThanOne) {
  std::vector<std::vector<uint16_t>> asked;
  PortWatch watch(kHost, {4, 2, 3, 2}, kNoLimit, [&](const std::vector<uint16_t>& ports) {
    asked.push_back(ports);
    return SocketDump{.cost = absl::Milliseconds(1), .ports = {}};
  });
  watch.Update(At(0));
  EXPECT_TRUE(watch.Due(At(1)));
  EXPECT_EQ(asked, (std::vector<std::vector<uint16_t>>{{2, 3, 4}}));
}

TEST(PortWatchTest, BytesOfChangingSocketsAddUp) {
  SocketDump dump;
  dump.ports[kPort] = {.established = 1, .sockets = {{.cookie = 1, .sent_bytes = 100}}};
  PortWatch watch(kHost, {kPort}, kNoLimit, [&](const std::vector<uint16_t>&) { return dump; });
  EXPECT_FALSE(watch.Latest(kPort).has_value());
  watch.Update(At(1));
  EXPECT_EQ(watch.Latest(kPort)->bytes, 0u) << "bytes from before the start do not count";
  // The first socket grew by 50, and a second appeared with 20.
  dump.ports[kPort] = {
      .established = 2,
      .sockets = {{.cookie = 1, .sent_bytes = 150}, {.cookie = 2, .received_bytes = 20}}};
  watch.Update(At(2));
  EXPECT_EQ(watch.Latest(kPort)->bytes, 70u);
  EXPECT_EQ(watch.Latest(kPort)->established, 2u);
  EXPECT_EQ(watch.Latest(kPort)->at, At(2));
  EXPECT_FALSE(watch.Latest(kPort + 1).has_value());
}

TEST(PortWatchTest, PortThatLostItsLastConnectionHasNone) {
  SocketDump dump;
  dump.ports[kPort].established = 3;
  PortWatch watch(kHost, {kPort}, kNoLimit, [&](const std::vector<uint16_t>&) { return dump; });
  watch.Update(At(1));
  EXPECT_EQ(watch.Latest(kPort)->established, 3u);
  dump.ports.clear();
  watch.Update(At(2));
  EXPECT_EQ(watch.Latest(kPort)->established, 0u);
}

TEST(PortWatchTest, RefusedDumpKeepsTheLastCount) {
  bool refused = false;
  PortWatch watch(kHost, {kPort}, kNoLimit,
                  [&](const std::vector<uint16_t>&) -> absl::StatusOr<SocketDump> {
                    if (refused) return absl::UnavailableError("no memory");
                    SocketDump dump;
                    dump.ports[kPort].established = 7;
                    return dump;
                  });
  watch.Update(At(1));
  refused = true;
  watch.Update(At(2));
  EXPECT_TRUE(watch.Due(At(3)));
  EXPECT_EQ(watch.Latest(kPort)->established, 7u);
  EXPECT_EQ(watch.Latest(kPort)->at, At(1));
}

// At normal priority, a dump of 100,000 sockets kept a trunk worker from its core for milliseconds.
TEST(PortWatchTest, OnlyTheOwnThreadRunsAtIdlePriority) {
  const int own = sched_getscheduler(0);
  std::promise<int> policy;
  std::atomic<bool> asked = false;
  PortWatch watch(kHost, {kPort}, kNoLimit, [&](const std::vector<uint16_t>&) {
    if (!asked.exchange(true)) policy.set_value(sched_getscheduler(0));
    return SocketDump();
  });
  watch.Start();
  EXPECT_EQ(policy.get_future().get(), SCHED_IDLE);
  watch.Stop();
  EXPECT_EQ(sched_getscheduler(0), own);
}

// At idle priority, a dump in flight delayed the end of an agent on a busy host by seconds.
TEST(PortWatchTest, StopRestoresThePriorityOfADumpInFlight) {
  std::promise<void> begun;
  int policy = SCHED_IDLE;
  PortWatch watch(kHost, {kPort}, kNoLimit, [&](const std::vector<uint16_t>&) {
    begun.set_value();
    const MonotonicTime deadline = MonotonicNow() + absl::Seconds(20);
    while (policy == SCHED_IDLE && MonotonicNow() < deadline) policy = sched_getscheduler(0);
    return SocketDump();
  });
  watch.Start();
  begun.get_future().wait();
  watch.Stop();
  EXPECT_EQ(policy, SCHED_OTHER);
}

TEST(PortWatchTest, WithoutPortsThereAreNoDumps) {
  PortWatch watch(kHost, {}, kNoLimit, [](const std::vector<uint16_t>&) {
    ADD_FAILURE() << "a dump without ports";
    return SocketDump();
  });
  watch.Start();
}

}  // namespace
}  // namespace trunkline
