#include "agent/port_watch.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <future>

namespace trunkline {
namespace {

constexpr uint16_t kPort = 9000;

MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>(seconds * 1e9));
}

TEST(PortWatchTest, HostFullOfSocketsIsAskedLessOften) {
  SocketDump dump;
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) { return dump; });
  EXPECT_EQ(watch.Look(At(0)), absl::Seconds(1));
  dump.cost = absl::Milliseconds(10);
  EXPECT_EQ(watch.Look(At(1)), absl::Seconds(2)) << "10 ms each 2 s is a two-hundredth";
  dump.cost = absl::Seconds(1);
  EXPECT_EQ(watch.Look(At(3)), absl::Seconds(10)) << "ten seconds at the most";
}

// An agent of many services took as many two-hundredths of a core.
TEST(PortWatchTest, ManyServicesCostNoMoreThanOne) {
  std::vector<std::vector<uint16_t>> asked;
  PortWatch watch({4, 2, 3, 2}, [&](const std::vector<uint16_t>& ports) {
    asked.push_back(ports);
    return SocketDump{.cost = absl::Milliseconds(10), .ports = {}};
  });
  EXPECT_EQ(watch.Look(At(0)), absl::Seconds(2));
  EXPECT_EQ(asked, (std::vector<std::vector<uint16_t>>{{2, 3, 4}}));
}

TEST(PortWatchTest, BytesOfSocketsThatComeAndGoAddUp) {
  SocketDump dump;
  dump.ports[kPort] = {.established = 1, .sockets = {{.cookie = 1, .sent_bytes = 100}}};
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) { return dump; });
  EXPECT_FALSE(watch.Latest(kPort).has_value());
  watch.Look(At(1));
  EXPECT_EQ(watch.Latest(kPort)->bytes, 0u) << "what was there before the start does not count";
  // The first socket grew by 50, a second one came with 20.
  dump.ports[kPort] = {
      .established = 2,
      .sockets = {{.cookie = 1, .sent_bytes = 150}, {.cookie = 2, .received_bytes = 20}}};
  watch.Look(At(2));
  EXPECT_EQ(watch.Latest(kPort)->bytes, 70u);
  EXPECT_EQ(watch.Latest(kPort)->established, 2u);
  EXPECT_EQ(watch.Latest(kPort)->at, At(2));
  EXPECT_FALSE(watch.Latest(kPort + 1).has_value());
}

TEST(PortWatchTest, PortThatLostItsLastConnectionHasNone) {
  SocketDump dump;
  dump.ports[kPort].established = 3;
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) { return dump; });
  watch.Look(At(1));
  EXPECT_EQ(watch.Latest(kPort)->established, 3u);
  dump.ports.clear();
  watch.Look(At(2));
  EXPECT_EQ(watch.Latest(kPort)->established, 0u);
}

TEST(PortWatchTest, RefusedLookKeepsWhatWasKnown) {
  bool refused = false;
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) -> absl::StatusOr<SocketDump> {
    if (refused) return absl::UnavailableError("no memory");
    SocketDump dump;
    dump.ports[kPort].established = 7;
    return dump;
  });
  watch.Look(At(1));
  refused = true;
  EXPECT_EQ(watch.Look(At(2)), absl::Seconds(1));
  EXPECT_EQ(watch.Latest(kPort)->established, 7u);
  EXPECT_EQ(watch.Latest(kPort)->at, At(1));
}

// A walk of the kernel over a hundred thousand sockets kept a trunk's worker from its core for
// milliseconds.
TEST(PortWatchTest, ThreadGivesWayAndLeavesItsStarterAsItWas) {
  const int own = sched_getscheduler(0);
  std::promise<int> policy;
  std::atomic<bool> asked = false;
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) {
    if (!asked.exchange(true)) policy.set_value(sched_getscheduler(0));
    return SocketDump();
  });
  watch.Start();
  EXPECT_EQ(policy.get_future().get(), SCHED_IDLE);
  watch.Stop();
  EXPECT_EQ(sched_getscheduler(0), own);
}

// An agent on a busy host took seconds to end, in a walk for which there was no core.
TEST(PortWatchTest, LookThatIsUnderWayIsHurriedAtTheEnd) {
  std::promise<void> begun;
  int policy = SCHED_IDLE;
  PortWatch watch({kPort}, [&](const std::vector<uint16_t>&) {
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

TEST(PortWatchTest, AgentOfUnixSocketsAsksForNothing) {
  PortWatch watch({}, [](const std::vector<uint16_t>&) {
    ADD_FAILURE() << "there is no port to ask for";
    return SocketDump();
  });
  watch.Start();
}

}  // namespace
}  // namespace trunkline
