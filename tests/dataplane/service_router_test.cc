// What one worker does about endpoints that refuse: leave them alone, take them back, and never try
// without end. A router on the test's own loop, with real pools and real agents behind it.
#include "dataplane/service_router.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "dataplane/trunk_pool.h"
#include "dataplane/tunnel_flow.h"
#include "tests/dataplane/tunnel.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::TcpPair;

class RouterTest : public ::testing::Test, public ServiceRouter::Owner, public Dialer::Owner {
 protected:
  ~RouterTest() override {
    while (!flows_.empty()) flows_.begin()->second->Shutdown();
    router_.reset();
    loop_.RunOnce(absl::ZeroDuration());
    pools_.clear();
  }

  size_t AddAgent(const Address& target, double weight = 1) {
    Agent agent;
    agent.traffic = std::make_unique<TrafficTable>(1, 1);
    TrunkServer::Options options;
    options.listen = {.host = "127.0.0.1", .port = 0};
    options.services = {{.name = "db", .target = target}};
    auto server = TrunkServer::Start(options, *agent.traffic);
    EXPECT_TRUE(server.ok()) << server.status();
    agent.server = *std::move(server);
    const Address address = {.host = "127.0.0.1",
                             .port = static_cast<uint16_t>(agent.server->port())};
    Endpoint endpoint;
    endpoint.id = absl::StrCat("e", set_->endpoints.size());
    endpoint.address = address.ToString();
    endpoint.resolved = ResolveAddress(address).value();
    endpoint.weight = weight;
    endpoint.stats = stats_.Endpoint("db", endpoint.id);
    set_->endpoints.push_back(std::move(endpoint));
    agents_.push_back(std::move(agent));
    return agents_.size() - 1;
  }

  void Start(absl::Duration ejection_base = ServiceRouter::kEjectionBase) {
    set_->service = "db";
    set_->authority = "db:1";
    set_->limits.connect_timeout = absl::Seconds(20);
    set_->stats = stats_.Listener("db");
    router_ = std::make_unique<ServiceRouter>(loop_, *this, &stats_.worker(0),
                                              ServiceRouter::Place(), 1, set_, ejection_base);
    ASSERT_TRUE(RunUntil([&] { return stats_.worker(0).trunks_up.Value() == agents_.size(); }));
  }

  // The client's end of a new flow, which is already on its way.
  Peer AddClient() {
    auto [fd, peer] = TcpPair();
    std::unique_ptr<Flow> flow =
        std::make_unique<TunnelFlow>(loop_, std::move(fd), *router_, set_->limits);
    Flow& borrowed = *flow;
    flows_[&borrowed] = std::move(flow);
    router_->Join(borrowed);
    return std::move(peer);
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
  // A client's whole life: reset if nobody takes it, else until it is connected and leaves.
  void RunOneClient() {
    const uint64_t connected = Connected();
    Peer client = AddClient();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty() || Connected() > connected; }));
    if (!flows_.empty()) client.Reset();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  }
  uint64_t Connected() {
    uint64_t sum = 0;
    for (size_t i = 0; i < agents_.size(); ++i) sum += cell(i).connects.Value();
    return sum;
  }
  const EndpointCell& cell(size_t i) { return set_->endpoints[i].stats->cells()[0]; }
  const WorkerStats& stats() { return stats_.worker(0); }

  EventLoop loop_;
  TrafficStats stats_{1};
  std::map<Flow*, std::unique_ptr<Flow>> flows_;

 private:
  struct Agent {
    std::unique_ptr<TrafficTable> traffic;
    std::unique_ptr<TrunkServer> server;
  };

  Carrier& CarrierFor(const EndpointSet&, const Endpoint& endpoint) override {
    auto& pool = pools_[endpoint.address];
    if (pool == nullptr) {
      pool = std::make_unique<TrunkPool>(loop_, dialer_, endpoint.address, TrunkPool::Options(),
                                         &stats_.worker(0), 1);
    }
    return *pool;
  }
  void OnFlowGone(Flow& flow) override {
    auto owned = flows_.extract(&flow);
    loop_.Retire(std::move(owned.mapped()));
  }
  void OnFlowReplaced(Flow&, std::unique_ptr<Flow>) override {
    FAIL() << "flows of a tunnel stay what they are";
  }
  Dialer& dialer() override { return dialer_; }
  bool HasSocket() const override { return true; }
  void DialAgain() override {}
  void CloseLingering(UniqueFd) override {}

  std::vector<Agent> agents_;
  std::shared_ptr<EndpointSet> set_ = std::make_shared<EndpointSet>();
  Dialer dialer_{loop_, stats_.worker(0), *this};
  std::map<std::string, std::unique_ptr<TrunkPool>> pools_;
  std::unique_ptr<ServiceRouter> router_;
};

TEST_F(RouterTest, EndpointThatRefusesFiveTimesInARowIsLeftAloneForAWhile) {
  LocalServer local;
  const size_t bad = AddAgent(RefusingAddress());
  AddAgent(local.address());
  Start(absl::Milliseconds(300));
  while (cell(bad).ejected.Value() == 0) {
    ASSERT_LE(cell(bad).connect_refused.Value(), 5u);
    RunOneClient();
  }
  EXPECT_EQ(cell(bad).connect_refused.Value(), 5u);
  for (int i = 0; i < 30; ++i) {
    const uint64_t before = cell(bad).flows.Value();
    const bool ejected = cell(bad).ejected.Value() == 1;
    const uint64_t connected = Connected();
    Peer client = AddClient();  // picks at once
    EXPECT_TRUE(!ejected || cell(bad).flows.Value() == before);
    ASSERT_TRUE(RunUntil([&] { return Connected() > connected; }));
    client.Reset();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  }
  ASSERT_TRUE(RunUntil([&] { return cell(bad).ejected.Value() == 0; })) << "it comes back";
  const uint64_t before = cell(bad).flows.Value();
  for (int i = 0; i < 100 && cell(bad).flows.Value() == before; ++i) RunOneClient();
  EXPECT_GT(cell(bad).flows.Value(), before) << "and is tried again";
}

TEST_F(RouterTest, OneGoodConnectForgivesTheRefusalsBefore) {
  test::ScratchFolder folder;
  const std::string path = folder.File("s");
  const size_t only = AddAgent(Address{.unix_path = path});
  Start();
  for (int round = 0; round < 3; ++round) {
    RunOneClient();  // three tries, all here
    auto local = std::make_unique<LocalServer>(Address{.unix_path = path});
    RunOneClient();
    local.reset();
  }
  EXPECT_EQ(cell(only).ejected.Value(), 0);
  EXPECT_EQ(cell(only).connect_refused.Value(), 9u);
}

TEST_F(RouterTest, OnlyEndpointIsUsedThoughItIsEjected) {
  test::ScratchFolder folder;
  const std::string path = folder.File("s");
  const size_t only = AddAgent(Address{.unix_path = path});
  Start(absl::Hours(1));
  while (cell(only).ejected.Value() == 0) RunOneClient();
  LocalServer local(Address{.unix_path = path});
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("x"));
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }))
      << "a doubtful server is better than none";
  EXPECT_EQ(cell(only).ejected.Value(), 1);
}

TEST_F(RouterTest, SecondTryPrefersAnEndpointThatIsNotEjected) {
  LocalServer local;
  const size_t dead = AddAgent(RefusingAddress(), 1);
  const size_t refusing = AddAgent(RefusingAddress(), 1);
  const size_t good = AddAgent(local.address(), 0.001);
  Start(absl::Hours(1));
  while (cell(dead).ejected.Value() + cell(refusing).ejected.Value() == 0) RunOneClient();
  const size_t ejected = cell(dead).ejected.Value() == 1 ? dead : refusing;
  const uint64_t before = cell(ejected).flows.Value();
  for (int i = 0; i < 3; ++i) RunOneClient();
  EXPECT_EQ(cell(ejected).flows.Value(), before);
  EXPECT_GT(cell(good).flows.Value(), 0u);
}

// 100 tries at once and one more for every fifth client; each client here would like two.
TEST_F(RouterTest, TriesAreLimitedByABudget) {
  AddAgent(RefusingAddress());
  AddAgent(RefusingAddress());
  Start();
  constexpr int kClients = 500;
  for (int i = 0; i < kClients; ++i) RunOneClient();
  EXPECT_LE(stats().retries.Value(), 100u + kClients / 5);
  EXPECT_GE(stats().retries.Value(), 90u + kClients / 5);
  EXPECT_EQ(stats().connect_refused.Value(), static_cast<uint64_t>(kClients));
}

TEST_F(RouterTest, NewFlowsGoWhereFewerAreOpen) {
  LocalServer first;
  LocalServer second;
  AddAgent(first.address());
  AddAgent(second.address());
  Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(AddClient());
  // Random choice alone would differ by more than 6 four times in ten.
  EXPECT_NEAR(static_cast<double>(cell(0).active.Value()), 50, 3);
  ASSERT_TRUE(RunUntil([&] { return Connected() == 100; }));
}

}  // namespace
}  // namespace trunkline
