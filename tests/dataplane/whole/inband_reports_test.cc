// In-band load reports show each proxy the other one's load: two data planes and real agents in one
// process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/trunk_counters.h"
#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"
#include "common/trunk/load_offer.h"
#include "common/trunk/trunk_connection.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/tunnel/load_subscription.h"
#include "tests/common/eventually.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectExchange;
using test::Http2Pair;
using test::Http2Server;
using test::LocalServer;
using test::Peer;
using test::Tunnel;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kUnknown = EndpointCell::kUnknown;

// Clients that wait for a response count as load for longer than a test takes.
std::vector<Peer> AskWithoutAnswer(Tunnel& proxy, int clients) {
  std::vector<Peer> asking;
  for (int i = 0; i < clients; ++i) {
    asking.push_back(proxy.Connect());
    EXPECT_TRUE(asking.back().Send("question"));
  }
  return asking;
}

int64_t Said(const Tunnel& proxy, size_t endpoint) {
  return proxy.cell(endpoint).server_active.Value();
}

TEST(InbandReportsTest, PicksAvoidTheEndpointThatAnotherProxyLoads) {
  constexpr int kLoad = 40;
  constexpr int kPicks = 16;
  LocalServer local;
  Tunnel one;
  const size_t busy = one.AddAgent(local.address());
  const size_t free = one.AddAgent(local.address(), /*weight=*/0);
  one.Start();
  Tunnel other;
  other.AddEndpoint(one.trunk_address(busy));
  other.AddEndpoint(one.trunk_address(free));
  other.Start();
  const std::vector<Peer> load = AskWithoutAnswer(one, kLoad);
  std::vector<std::vector<Peer>> clients;
  for (int i = 0; i <= kPicks; ++i) {
    // Each pick uses reports that include all flows before it.
    ASSERT_TRUE(Eventually([&] { return Said(other, busy) + Said(other, free) == kLoad + i; }));
    if (i < kPicks) clients.push_back(AskWithoutAnswer(other, 1));
  }
  // The busy endpoint is picked only if both draws hit it: 4 times of 16; the seed is fixed. By its
  // own flows alone this proxy would give it half.
  EXPECT_LE(other.cell(busy).flows.Value(), 6u);
  EXPECT_EQ(other.cell(busy).flows.Value() + other.cell(free).flows.Value(), uint64_t{kPicks});
}

TEST(InbandReportsTest, ConnectedButSilentClientsAreNotLoad) {
  LocalServer local;
  Tunnel tunnel;
  const size_t agent = tunnel.AddAgent(local.address());
  tunnel.Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(tunnel.Connect());
  std::vector<Peer> servers;
  for (int i = 0; i < 10; ++i) servers.push_back(local.Accept());
  // All flows count as load for one second, at both ends.
  ASSERT_TRUE(Eventually([&] { return tunnel.cell(agent).load.Value() == 0; }));
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == 0; }));
  EXPECT_EQ(tunnel.cell(agent).active.Value(), 10);
  ASSERT_TRUE(clients[0].Send("question"));
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == 1; }));
  EXPECT_EQ(tunnel.cell(agent).load.Value(), 1);
  clients.clear();
  servers.clear();
  ASSERT_TRUE(Eventually([&] { return tunnel.cell(agent).active.Value() == 0; }));
  EXPECT_EQ(tunnel.cell(agent).load.Value(), 0);
}

TEST(InbandReportsTest, ReportsCarryTheUtilization) {
  LocalServer local;
  Tunnel tunnel;
  const size_t agent = tunnel.AddAgent(local.address());
  tunnel.Start();
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == 0; }));
  EXPECT_EQ(tunnel.cell(agent).server_utilization.Value(), kUnknown);
  tunnel.traffic(agent).SetUtilization(0, 0.523);
  ASSERT_TRUE(Eventually([&] { return tunnel.cell(agent).server_utilization.Value() == 523; }));
}

TEST(InbandReportsTest, LostTrunkDropsItsReports) {
  LocalServer local;
  Tunnel tunnel;
  const size_t agent = tunnel.AddAgent(local.address());
  tunnel.Start();
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == 0; }));
  EXPECT_EQ(tunnel.worker().load_subscriptions.Value(), 1);
  tunnel.Kill(agent);
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == kUnknown; }));
  EXPECT_EQ(tunnel.worker().load_subscriptions.Value(), 0);
}

TEST(InbandReportsTest, DrainingAgentEndsTrunksWithLoadStreams) {
  LocalServer local;
  Tunnel tunnel;
  const size_t agent = tunnel.AddAgent(local.address());
  tunnel.Start();
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, agent) == 0; }));
  tunnel.agent(agent).Drain(absl::Seconds(20));
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().trunks.Value() == 0; }));
  EXPECT_EQ(Said(tunnel, agent), kUnknown);
}

TEST(InbandReportsTest, ReplacedTrunkWithALoadStreamEnds) {
  LocalServer local;
  Tunnel::Options options;
  // Each flow uses up the stream ids of a trunk.
  options.trunks.last_stream_id = 3;
  Tunnel tunnel(options);
  tunnel.AddAgent(local.address());
  tunnel.Start();
  for (int i = 0; i < 3; ++i) {
    Peer client = tunnel.Connect();
    Peer server = local.Accept();
    ASSERT_TRUE(server);
    ExpectExchange(client, server, "still", "here");
  }
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().trunks.Value() <= 1; }));
  EXPECT_GE(tunnel.worker().trunks_up.Value(), 2u);
}

TEST(InbandReportsTest, AgentWithFewStreamsGetsNoLoadSubscription) {
  LocalServer local;
  Tunnel tunnel({.agent_max_streams = 2});
  const size_t agent = tunnel.AddAgent(local.address());
  tunnel.Start();
  EXPECT_EQ(tunnel.worker().load_subscriptions.Value(), 0);
  EXPECT_EQ(Said(tunnel, agent), kUnknown);
}

TEST(InbandReportsTest, ReportsOfARemovedEndpointAreDropped) {
  LocalServer local;
  Tunnel tunnel;
  const size_t stays = tunnel.AddAgent(local.address());
  const size_t leaves = tunnel.AddAgent(local.address());
  tunnel.Start();
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, stays) == 0 && Said(tunnel, leaves) == 0; }));
  tunnel.Remove(leaves);
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, leaves) == kUnknown; }));
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().trunks.Value() == 1; }));
}

// An agent that sends one report and then none, on a trunk that stays alive.
TEST(InbandReportsTest, ReportThatIsNotRepeatedIsDropped) {
  LocalServer agent;
  Tunnel::Options options;
  options.trunks.ping_after = absl::Minutes(10);
  Tunnel tunnel(options);
  const size_t endpoint = tunnel.AddEndpoint(agent.address());
  tunnel.Apply();
  Peer trunk = agent.Accept();
  ASSERT_TRUE(trunk);
  Http2Server end({.extension = LoadOffer(true)});
  end.known_path = kLoadPath;
  while (end.accepted.empty()) {
    ASSERT_TRUE(trunk.Send(end.TakeOutput()));
    std::string heard = trunk.Read(1);
    heard += trunk.Read(trunk.UnreadBytes());
    ASSERT_TRUE(end.Give(heard).ok());
  }
  end.accepted.front()->Send("other 9 9\ndb 7 -\n");
  ASSERT_TRUE(trunk.Send(end.TakeOutput()));
  ASSERT_TRUE(Eventually([&] { return Said(tunnel, endpoint) == 7; }));
  EXPECT_TRUE(Eventually([&] { return Said(tunnel, endpoint) == kUnknown; }));
  EXPECT_EQ(tunnel.worker().load_subscriptions.Value(), 1) << "the agent may report again";
  EXPECT_EQ(tunnel.worker().inband_reports.Value(), 2u);
  end.session.CloseAll(NGHTTP2_NO_ERROR);
}

// A proxy's load stream. The test plays the agent.
class SubscriptionTest : public ::testing::Test,
                         public LoadSubscription::Owner,
                         public TrunkConnection::Owner {
 protected:
  SubscriptionTest()
      : trunk_(loop_, test::TcpPair().first, {}, static_cast<TrunkConnection::Owner*>(this),
               &counters_),
        subscription_(loop_, trunk_, *this) {
    pair_.server.known_path = kLoadPath;
  }

  void Ask() {
    ASSERT_TRUE(AskForLoad(pair_.client.session, &subscription_).ok());
    pair_.Pump();
  }
  void Say(const std::string& bytes) {
    pair_.far().Send(bytes);
    pair_.Pump();
  }

  EventLoop loop_;
  TrunkCounters counters_;
  TrunkConnection trunk_;
  LoadSubscription subscription_;
  Http2Pair pair_;
  std::vector<std::string> heard_;
  std::vector<bool> ends_;  // whether each was a fault

 private:
  void OnInbandReport(const InbandReport& word) override { heard_.emplace_back(word.service); }
  void OnLoadEnded(LoadSubscription&, bool fault) override { ends_.push_back(fault); }
  Http2Stream* OnConnect(TrunkConnection&, std::string_view, int*) override { return nullptr; }
  void OnTrunkChanged(TrunkConnection&) override {}
  void OnTrunkLost(TrunkConnection&, const absl::Status&) override {}
};

TEST_F(SubscriptionTest, ReportsArePassedToTheOwner) {
  Ask();
  Say("db 1 2\nwe");
  Say("b 3 -\n");
  EXPECT_THAT(heard_, ElementsAre("db", "web"));
  EXPECT_THAT(ends_, IsEmpty());
  subscription_.Cancel();
  pair_.Pump();
  EXPECT_THAT(pair_.far().closes, ElementsAre(static_cast<uint32_t>(NGHTTP2_CANCEL)));
}

TEST_F(SubscriptionTest, RefusalEndsItWithoutAFault) {
  pair_.server.refuse_with = 404;
  Ask();
  EXPECT_THAT(ends_, ElementsAre(false));
}

TEST_F(SubscriptionTest, ResetEndsItWithoutAFault) {
  pair_.server.prepare = [](test::TestStream& stream) {
    stream.on_headers = [](test::TestStream& s) {
      s.Abort();
      s.Respond(200);
    };
  };
  Ask();
  EXPECT_THAT(ends_, ElementsAre(false));
}

TEST_F(SubscriptionTest, MalformedReportIsAFaultAndTheSessionContinues) {
  Ask();
  Say("db 1 2\n<html>\ndb 3 4\n");
  EXPECT_THAT(heard_, ElementsAre("db"));
  EXPECT_THAT(ends_, ElementsAre(true));
  EXPECT_THAT(pair_.far().closes, ElementsAre(static_cast<uint32_t>(NGHTTP2_PROTOCOL_ERROR)));
  EXPECT_THAT(pair_.Open().headers, ElementsAre(200));
}

TEST_F(SubscriptionTest, StreamOfTooManyReportsIsClosed) {
  Ask();
  std::string lines;
  while (lines.size() < 100'000) lines += "db 1 2\n";
  for (int i = 0; i < 100 && ends_.empty(); ++i) Say(lines);
  EXPECT_THAT(ends_, ElementsAre(true));
  EXPECT_LT(heard_.size(), 1'000'000u);
}

}  // namespace
}  // namespace trunkline
