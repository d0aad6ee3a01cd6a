// What flows keep for their clients: the gauges say as much as the flows do, after every pass of
// the loop and in every mode, and the age of it is that of the oldest byte. A router on the test's
// own loop, with real carriers.
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/redis.h"
#include "dataplane/direct_flow.h"
#include "dataplane/direct_way.h"
#include "dataplane/message_flow.h"
#include "dataplane/service_router.h"
#include "dataplane/shared_pool.h"
#include "dataplane/trunk_pool.h"
#include "dataplane/tunnel_flow.h"
#include "tests/dataplane/tunnel.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::TcpPair;

constexpr size_t kBytes = 20'000;

class HeldBytesTest : public ::testing::Test, public ServiceRouter::Owner, public Dialer::Owner {
 protected:
  ~HeldBytesTest() override {
    while (!flows_.empty()) flows_.begin()->second->Shutdown();
    router_.reset();
    loop_.RunOnce(absl::ZeroDuration());
    carriers_.clear();
  }

  // An endpoint, for Start.
  void AddEndpoint(const Address& address) {
    Endpoint endpoint;
    endpoint.id = absl::StrCat("e", set_->endpoints.size());
    endpoint.address = address.ToString();
    endpoint.resolved = ResolveAddress(address).value();
    endpoint.weight = 1;
    endpoint.stats = stats_.Endpoint("db", endpoint.id);
    set_->endpoints.push_back(std::move(endpoint));
  }
  void AddAgent(const Address& target) {
    TrunkServer::Options options;
    options.listen = {.host = "127.0.0.1", .port = 0};
    options.services = {{.name = "db", .target = target}};
    auto agent = TrunkServer::Start(options, traffic_);
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
    AddEndpoint({.host = "127.0.0.1", .port = static_cast<uint16_t>(agent_->port())});
  }
  void Start(CarryMode mode, std::shared_ptr<const Codec> codec = nullptr) {
    set_->service = "db";
    set_->authority = "db:1";
    set_->mode = mode;
    set_->limits.connect_timeout = absl::Seconds(20);
    set_->stats = stats_.Listener("db");
    if (codec != nullptr) {
      auto message = std::make_shared<MessageService>();
      message->connection.codec = std::move(codec);
      set_->message = std::move(message);
    }
    router_ = std::make_unique<ServiceRouter>(loop_, *this, &stats_.worker(0),
                                              ServiceRouter::Place(), 1, set_);
    if (agent_ != nullptr) {
      ASSERT_TRUE(RunUntil([&] { return stats_.worker(0).trunks_up.Value() > 0; }));
    }
  }
  void StartWithLines() {
    Start(CarryMode::kMessage,
          std::shared_ptr<const Codec>(NewDelimiterCodec({.delimiter = "\n"}).value()));
  }

  // The client's end of a new flow. The kernel takes little of what it does not read.
  Peer AddClient() {
    auto [fd, peer] = TcpPair(8 * 1024);
    const int send_buffer = 4 * 1024;
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    std::unique_ptr<Flow> flow = MakeFlow(std::move(fd));
    Flow& borrowed = *flow;
    flows_[&borrowed] = std::move(flow);
    router_->Join(borrowed);
    return std::move(peer);
  }

  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline || HasFailure()) return false;
      loop_.RunOnce(absl::Milliseconds(20));
      size_t held = 0;
      for (const auto& [flow, owned] : flows_) held += flow->held().bytes;
      EXPECT_EQ(static_cast<int64_t>(held), pending() + unsent());
    }
    return true;
  }
  [[nodiscard]] bool RunUntilLater() {
    return RunUntil([&, start = loop_.now()] { return loop_.now() > start; });
  }
  [[nodiscard]] bool Send(Peer& from, const std::string& bytes) {
    size_t sent = 0;
    return RunUntil([&] {
      sent += from.SendWhatFits(bytes.substr(sent));
      return sent == bytes.size();
    });
  }
  // Until `full`: nobody reads at the other end.
  template <typename Condition>
  [[nodiscard]] bool SendUntil(Peer& from, Condition full) {
    return RunUntil([&] {
      if (!full()) from.SendWhatFits(std::string(10 * kBytes, 'x'));
      return full();
    });
  }

  int64_t pending() { return stats_.worker(0).client_pending_bytes.Value(); }
  int64_t unsent() { return stats_.worker(0).client_unsent_bytes.Value(); }
  // Of the only flow.
  Flow::Held held() { return flows_.begin()->first->held(); }

  EventLoop loop_;
  size_t replaced_ = 0;

 private:
  Carrier& CarrierFor(const EndpointSet& set, const Endpoint& endpoint) override {
    std::unique_ptr<Carrier>& carrier = carriers_[endpoint.address];
    if (carrier == nullptr) carrier = MakeCarrier(set, endpoint);
    return *carrier;
  }
  std::unique_ptr<Carrier> MakeCarrier(const EndpointSet& set, const Endpoint& endpoint) {
    WorkerStats& stats = stats_.worker(0);
    switch (set.mode) {
      case CarryMode::kTunnel:
        return std::make_unique<TrunkPool>(loop_, dialer_, endpoint.address, TrunkPool::Options(),
                                           &stats, 1);
      case CarryMode::kMessage:
        return std::make_unique<SharedPool>(
            loop_, dialer_, endpoint.id,
            SharedPool::Options{.connection = set.message->connection, .max_shared = 1},
            endpoint.stats->budget(0), &stats.shared, &stats.shared_connections, 1);
      case CarryMode::kDirect:
        break;
    }
    return std::make_unique<DirectWay>();
  }
  std::unique_ptr<Flow> MakeFlow(UniqueFd fd) {
    switch (set_->mode) {
      case CarryMode::kTunnel:
        return std::make_unique<TunnelFlow>(loop_, std::move(fd), *router_, set_->limits);
      case CarryMode::kMessage:
        return std::make_unique<MessageFlow>(loop_, std::move(fd), *router_, *set_);
      case CarryMode::kDirect:
        break;
    }
    return std::make_unique<DirectFlow>(loop_, std::move(fd), *router_, set_->limits);
  }
  void OnFlowGone(Flow& flow) override {
    auto owned = flows_.extract(&flow);
    loop_.Retire(std::move(owned.mapped()));
  }
  void OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) override {
    ++replaced_;
    OnFlowGone(flow);
    Flow* const next = by.get();
    flows_[next] = std::move(by);
  }
  Dialer& dialer() override { return dialer_; }
  bool HasSocket() const override { return true; }
  void DialAgain() override {}
  void CloseLingering(UniqueFd) override {}

  TrafficStats stats_{1};
  Dialer dialer_{loop_, stats_.worker(0), *this};
  std::map<Flow*, std::unique_ptr<Flow>> flows_;
  TrafficTable traffic_{1, 1};
  std::unique_ptr<TrunkServer> agent_;
  std::shared_ptr<EndpointSet> set_ = std::make_shared<EndpointSet>();
  std::map<std::string, std::unique_ptr<Carrier>> carriers_;
  std::unique_ptr<ServiceRouter> router_;
};

TEST_F(HeldBytesTest, CopyForASecondTryCountsUntilItsServerHasAccepted) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);  // a queue of one
  Peer filler = test::ConnectPeer(local.address());
  AddAgent(local.address());
  Start(CarryMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntilLater());
  const MonotonicTime before = loop_.now();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; })) << pending();
  EXPECT_GE(held().since, before) << "a client may take its time before it speaks";
  Peer filled = local.Accept();
  Peer server = local.Accept();
  ASSERT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
  EXPECT_EQ(server.Read(kBytes).size(), kBytes);
}

TEST_F(HeldBytesTest, CopyIsForgottenWithItsClient) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);
  Peer filler = test::ConnectPeer(local.address());
  AddAgent(local.address());
  Start(CarryMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; })) << pending();
  client.Reset();
  EXPECT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
}

TEST_F(HeldBytesTest, ReaderOfATunnelThatStallsCounts) {
  LocalServer local;
  AddAgent(local.address());
  Start(CarryMode::kTunnel);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  EXPECT_TRUE(SendUntil(server, [&] { return unsent() > 0; }));
}

TEST_F(HeldBytesTest, OldBytesOfOneDirectionAreNotHiddenBehindMoreOfTheOther) {
  LocalServer local;
  AddEndpoint(local.address());
  Start(CarryMode::kDirect);
  Peer client = AddClient();
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  // At once, so that the first bytes that wait are more than the kernel may still take.
  ASSERT_EQ(server.SendWhatFits(std::string(2 * kBytes, 'x')), 2 * kBytes);
  ASSERT_TRUE(RunUntil([&] { return unsent() > int64_t{kBytes} / 2; }));
  const MonotonicTime oldest = held().since;
  ASSERT_TRUE(RunUntilLater());
  ASSERT_TRUE(SendUntil(client, [&] { return pending() > unsent(); }));
  EXPECT_EQ(held().since, oldest);
}

TEST_F(HeldBytesTest, RequestThatWaitsForAConnectionOfItsOwnCountsAndIsYoung) {
  Start(CarryMode::kMessage, NewRedisCodec({}));
  const MonotonicTime before = MonotonicNow();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + std::string(kBytes, 'x')));
  ASSERT_TRUE(RunUntil([&] { return replaced_ == 1; }));
  EXPECT_GT(pending(), 0);
  EXPECT_GE(held().since, before);
}

TEST_F(HeldBytesTest, RequestThatIsNotWholeIsAsOldAsItsBeginning) {
  LocalServer local;
  AddEndpoint(local.address());
  StartWithLines();
  Peer client = AddClient();
  const std::string part(kBytes, 'x');
  ASSERT_TRUE(Send(client, part));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; }));
  const MonotonicTime begun = held().since;
  for (const int64_t more : {1, 2, 3}) {
    ASSERT_TRUE(RunUntilLater());
    ASSERT_TRUE(Send(client, "x"));
    ASSERT_TRUE(RunUntil([&] { return pending() == int64_t{kBytes} + more; }));
    EXPECT_EQ(held().since, begun);
  }
  // The rest of it, and the beginning of the next one.
  ASSERT_TRUE(RunUntilLater());
  ASSERT_TRUE(Send(client, "\n" + part));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes; }));
  EXPECT_GT(held().since, begun);
}

TEST_F(HeldBytesTest, RequestWhoseConnectionFailedCountsUntilItIsSentAgain) {
  AddEndpoint(RefusingAddress());
  StartWithLines();
  const MonotonicTime before = MonotonicNow();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, std::string(kBytes, 'x') + "\n"));
  ASSERT_TRUE(RunUntil([&] { return pending() == kBytes + 1; })) << pending();
  EXPECT_GE(held().since, before);
  client.Reset();
  EXPECT_TRUE(RunUntil([&] { return pending() == 0; })) << pending();
}

TEST_F(HeldBytesTest, RepliesThatAreNotReadCount) {
  LocalServer local;
  AddEndpoint(local.address());
  StartWithLines();
  Peer client = AddClient();
  ASSERT_TRUE(Send(client, "question\n"));
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }));
  Peer server = local.Accept();
  ASSERT_EQ(server.SendWhatFits(std::string(2 * kBytes, 'x')), 2 * kBytes);
  EXPECT_TRUE(RunUntil([&] { return unsent() > 0; }));
}

}  // namespace
}  // namespace trunkline
