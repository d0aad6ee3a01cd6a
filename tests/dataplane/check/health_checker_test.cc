// How the checkers of a proxy's workers divide its endpoints, and what they do when endpoints
// change. The servers accept connects and say nothing.
#include "dataplane/check/health_checker.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/health_check.h"
#include "tests/common/net/tcp_pair.h"

namespace {

// Calls of send that a signal interrupts from now on.
int g_interrupted_sends = 0;

}  // namespace

// Replaces that of the C library.
extern "C" ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  if (g_interrupted_sends == 0) return sendto(fd, bytes, size, flags, nullptr, 0);
  --g_interrupted_sends;
  errno = EINTR;
  return -1;
}

namespace trunkline {
namespace {

using State = EndpointHealth::State;

class HealthCheckerTest : public ::testing::Test, public HealthChecker::Owner {
 protected:
  static constexpr size_t kWorkers = 4;

  HealthCheckerTest() {
    set_.service = "db";
    set_.layout = 1;
    auto listener = ListenOn({.host = "127.0.0.1", .port = 0});
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    silent_ = {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener_.get()))};
  }

  void MakeCheckers(size_t max_connections = 1000) {
    for (size_t i = 0; i < kWorkers; ++i) {
      checkers_.push_back(
          std::make_unique<HealthChecker>(loop_, stats_.worker(i), *this,
                                          HealthChecker::Options{.worker = i,
                                                                 .workers = kWorkers,
                                                                 .max_connections = max_connections,
                                                                 .random_seed = i}));
    }
  }
  void UseCheck(HealthCheck check) { set_.health_check = std::make_shared<HealthCheck>(check); }
  void Add(const Address& address, size_t count = 1) {
    for (size_t i = 0; i < count; ++i) {
      Endpoint endpoint;
      endpoint.id = absl::StrCat("e", 1000 + set_.endpoints.size());
      endpoint.address = address.ToString();
      endpoint.addresses = KnownAddresses(address);
      endpoint.stats = traffic_.Endpoint("db", endpoint.id);
      set_.endpoints.push_back(std::move(endpoint));
    }
  }
  void Update() {
    ++set_.layout;
    for (const auto& checker : checkers_) checker->Update(set_);
  }
  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      loop_.RunOnce(absl::Milliseconds(20));
    }
    return true;
  }
  int64_t Connections() {
    int64_t sum = 0;
    for (const WorkerStats& worker : stats_.workers()) sum += worker.check_connections.Value();
    return sum;
  }
  State StateOf(size_t i) const { return set_.endpoints[i].stats->health.state(); }
  size_t CountIn(State state) const {
    size_t count = 0;
    for (size_t i = 0; i < set_.endpoints.size(); ++i) count += StateOf(i) == state;
    return count;
  }

  void OnHealthChanged(const std::string&, const std::string& endpoint_id) override {
    changed_.push_back(endpoint_id);
  }

  EventLoop loop_;
  TrafficStats stats_{kWorkers};
  TrafficStats traffic_{kWorkers};
  UniqueFd listener_;
  Address silent_;
  EndpointSet set_;
  std::vector<std::string> changed_;
  std::vector<std::unique_ptr<HealthChecker>> checkers_;
};

// A check that waits for bytes which never come.
const HealthCheck kEndless = {
    .kind = TcpCheck{.expect = "x"}, .interval = absl::Hours(2), .timeout = absl::Hours(1)};
// Fails at once at a refusing port, and passes at once at a silent server.
const HealthCheck kQuick = {.kind = TcpCheck(),
                            .interval = absl::Milliseconds(10),
                            .timeout = absl::Seconds(20),
                            .rise = 1,
                            .fall = 1};

TEST_F(HealthCheckerTest, EachEndpointIsCheckedByOneWorker) {
  MakeCheckers();
  UseCheck(kEndless);
  Add(silent_, 40);
  Update();
  ASSERT_TRUE(RunUntil([&] { return Connections() >= 40; }));
  // All first checks begin within the interval of one: 40 ms.
  for (int i = 0; i < 20; ++i) loop_.RunOnce(absl::Milliseconds(5));
  EXPECT_EQ(Connections(), 40);
  for (const WorkerStats& worker : stats_.workers()) {
    EXPECT_GT(worker.check_connections.Value(), 0) << "every worker has a part";
  }
}

TEST_F(HealthCheckerTest, ChecksBeyondTheConnectionsWait) {
  MakeCheckers(1);
  HealthCheck check = kQuick;
  check.kind = TcpCheck{.expect = "x"};
  check.timeout = absl::Milliseconds(1);
  UseCheck(check);
  Add(silent_, 40);
  Update();
  ASSERT_TRUE(RunUntil([&] {
    EXPECT_LE(Connections(), static_cast<int64_t>(kWorkers));
    return CountIn(State::kUnhealthy) == 40;
  })) << "those that waited are checked in their turn";
  uint64_t postponed = 0;
  for (const WorkerStats& worker : stats_.workers()) postponed += worker.checks_postponed.Value();
  EXPECT_GT(postponed, 0u);
}

TEST_F(HealthCheckerTest, EndpointsThatLeaveWhileTheyWaitAreForgotten) {
  MakeCheckers(1);
  UseCheck(kEndless);
  Add(silent_, 40);
  Update();
  ASSERT_TRUE(RunUntil([&] {
    uint64_t postponed = 0;
    for (const WorkerStats& worker : stats_.workers()) postponed += worker.checks_postponed.Value();
    return postponed == 40 - kWorkers;
  }));
  set_.endpoints.clear();
  Update();
  EXPECT_EQ(Connections(), 0);
  Add(silent_);
  UseCheck(kQuick);
  Update();
  EXPECT_TRUE(RunUntil([&] { return StateOf(0) == State::kHealthy; }));
}

TEST_F(HealthCheckerTest, EndpointThatMovesStartsAnew) {
  const test::RefusingPort refusing;
  MakeCheckers();
  UseCheck(kQuick);
  Add(refusing.address());
  Update();
  ASSERT_TRUE(RunUntil([&] { return StateOf(0) == State::kUnhealthy; }));
  EXPECT_EQ(changed_, std::vector<std::string>{"e1000"});
  set_.endpoints[0].address = silent_.ToString();
  set_.endpoints[0].addresses = KnownAddresses(silent_);
  Update();
  EXPECT_EQ(StateOf(0), State::kUnknown);
  EXPECT_EQ(changed_.size(), 2u) << "routers may use it again";
  EXPECT_TRUE(RunUntil([&] { return StateOf(0) == State::kHealthy; }));
}

TEST_F(HealthCheckerTest, NewOptionsKeepTheResult) {
  const test::RefusingPort refusing;
  MakeCheckers();
  UseCheck(kQuick);
  Add(refusing.address());
  Update();
  ASSERT_TRUE(RunUntil([&] { return StateOf(0) == State::kUnhealthy; }));
  HealthCheck slower = kQuick;
  slower.interval = absl::Milliseconds(20);
  UseCheck(slower);
  Update();
  EXPECT_EQ(StateOf(0), State::kUnhealthy);
  EXPECT_EQ(changed_.size(), 1u);
}

TEST_F(HealthCheckerTest, ServiceWithoutChecksHasNoUnhealthyEndpoints) {
  const test::RefusingPort refusing;
  MakeCheckers();
  UseCheck(kQuick);
  Add(refusing.address());
  Update();
  ASSERT_TRUE(RunUntil([&] { return StateOf(0) == State::kUnhealthy; }));
  set_.health_check = nullptr;
  Update();
  EXPECT_EQ(StateOf(0), State::kUnknown);
  EXPECT_EQ(changed_.size(), 2u);
  EXPECT_EQ(Connections(), 0);
}

TEST_F(HealthCheckerTest, SignalDoesNotBreakACheckOff) {
  MakeCheckers();
  HealthCheck check = kEndless;
  check.kind = RedisCheck();
  UseCheck(check);
  Add(silent_);
  g_interrupted_sends = 2;
  Update();
  UniqueFd server;
  EXPECT_TRUE(RunUntil([&] {
    if (!server) server = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char bytes[16];
    return server && recv(server.get(), bytes, sizeof bytes, MSG_DONTWAIT) == 6;
  })) << "PING arrives";
  EXPECT_EQ(g_interrupted_sends, 0);
}

TEST_F(HealthCheckerTest, NameThatWasNeverResolvedIsNotUnhealthy) {
  MakeCheckers();
  UseCheck(kQuick);
  Add({.host = "no-such-host.invalid", .port = 80});
  ASSERT_EQ(set_.endpoints[0].addresses, nullptr);
  Add(silent_);
  Update();
  ASSERT_TRUE(RunUntil([&] { return set_.endpoints[1].stats->health.passed.Value() >= 3; }));
  EXPECT_EQ(StateOf(0), State::kUnknown);
  set_.endpoints[0].addresses = KnownAddresses(silent_);
  Update();
  EXPECT_TRUE(RunUntil([&] { return StateOf(0) == State::kHealthy; }));
}

}  // namespace
}  // namespace trunkline
