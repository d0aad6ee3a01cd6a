// Clients' view of endpoints that refuse, drain, die or return.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/address.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/eventually.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectExchange;
using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::Tunnel;

TEST(TunnelFailureTest, RefusedConnectIsRetriedElsewhereUnnoticed) {
  LocalServer local;
  Tunnel tunnel;
  tunnel.AddAgent(RefusingAddress());
  tunnel.AddAgent(local.address());
  tunnel.Start();
  constexpr size_t kClients = 40;
  std::vector<Peer> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(tunnel.Connect());
    // Also more than one frame, so that the copy is replayed in pieces.
    ASSERT_TRUE(clients.back().Send(std::string(1 + i * 1000, 'x')));
    clients.back().ShutdownWrite();
  }
  std::multiset<size_t> heard;
  for (size_t i = 0; i < kClients; ++i) {
    Peer server = local.Accept();
    ASSERT_TRUE(server);
    heard.insert(server.ReadToEnd().size());
    EXPECT_EQ(server.ending(), Ending::kFin);
    EXPECT_TRUE(server.Send("ok"));
  }
  for (Peer& client : clients) EXPECT_EQ(client.ReadToEnd(), "ok");
  size_t i = 0;
  for (const size_t size : heard)
    EXPECT_EQ(size, 1 + 1000 * i++) << "each must arrive once and complete";
  EXPECT_GT(tunnel.worker().retries.Value(), 0u);
  EXPECT_FALSE(local.Knocked(0));
}

TEST(TunnelFailureTest, UnreachableServerResetsTheClient) {
  Tunnel tunnel;
  tunnel.AddAgent(RefusingAddress());
  tunnel.AddAgent(RefusingAddress());
  tunnel.Start();
  Peer client = tunnel.Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel.clients() == 0; }));
  EXPECT_EQ(tunnel.worker().connect_refused.Value(), 1u);
}

TEST(TunnelFailureTest, UnknownServiceIsAnswered404WithoutADial) {
  LocalServer local;
  Tunnel tunnel;
  tunnel.AddAgent(local.address());
  Peer trunk = test::ConnectPeer(
      {.host = "127.0.0.1", .port = static_cast<uint16_t>(tunnel.agent(0).port())});
  test::TestStream stream;
  test::Http2Client proxy;
  for (const char* authority : {"other:80", "127.0.0.1:22", "db2:1", "d:b:1"}) {
    stream.headers.clear();
    stream.closes.clear();
    ASSERT_TRUE(proxy.session.Connect(authority, &stream).ok());
    while (stream.closes.empty()) {
      ASSERT_TRUE(trunk.Send(proxy.TakeOutput()));
      std::string heard = trunk.Read(1);
      heard += trunk.Read(trunk.UnreadBytes());
      ASSERT_FALSE(heard.empty());
      ASSERT_TRUE(proxy.Give(heard).ok());
    }
    EXPECT_EQ(stream.headers, std::vector<int>{404}) << authority;
  }
  EXPECT_FALSE(local.Knocked(0));
}

TEST(TunnelFailureTest, DrainedAgentKeepsItsFlowsAndGetsNoNewOnes) {
  LocalServer first_server;
  LocalServer second_server;
  Tunnel tunnel;
  const size_t first = tunnel.AddAgent(first_server.address());
  tunnel.Start();
  std::vector<Peer> clients;
  std::vector<Peer> servers;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(tunnel.Connect());
    servers.push_back(first_server.Accept());
    ExpectExchange(clients.back(), servers.back(), "before", "before");
  }
  const size_t second = tunnel.AddAgent(second_server.address());
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().trunks_up.Value() == 2; }));
  std::atomic<bool> drained = false;
  std::thread drain([&] {
    tunnel.agent(first).Drain(absl::Minutes(1));
    drained = true;
  });
  // Once the proxy knows of it, all clients go to the second endpoint.
  const uint64_t before = tunnel.cell(first).flows.Value();
  uint64_t to_first = 0;
  int to_second_in_row = 0;
  while (to_second_in_row < 20) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send("x"));
    ASSERT_TRUE(Eventually([&] { return first_server.Knocked(0) || second_server.Knocked(0); }));
    const bool is_second = second_server.Knocked(0);
    Peer server = is_second ? second_server.Accept() : first_server.Accept();
    to_second_in_row = is_second ? to_second_in_row + 1 : 0;
    to_first += is_second ? 0 : 1;
    ExpectExchange(client, server, "", "y");
    client.Close();
    server.ReadToEnd();
    server.Close();
    ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 5; }));
  }
  EXPECT_EQ(tunnel.cell(first).flows.Value(), before + to_first);
  EXPECT_EQ(tunnel.cell(second).flows.Value() > 0, true);
  // Open flows go on in both directions until they end.
  for (size_t i = 0; i < clients.size(); ++i) {
    ExpectExchange(clients[i], servers[i], "during", "during");
  }
  EXPECT_FALSE(drained);
  for (size_t i = 0; i < clients.size(); ++i) {
    ASSERT_TRUE(clients[i].Send(std::string(100'000, 'l')));
    clients[i].ShutdownWrite();
    EXPECT_EQ(servers[i].ReadToEnd().size(), 100'000u);
    ASSERT_TRUE(servers[i].Send(std::string(100'000, 'w')));
    servers[i].Close();
    EXPECT_EQ(clients[i].ReadToEnd().size(), 100'000u);
    EXPECT_EQ(clients[i].ending(), Ending::kFin);
  }
  drain.join();
  EXPECT_EQ(tunnel.worker().server_reset.Value() + tunnel.worker().trunk_lost.Value(), 0u);
}

// Clients do not notice the replacement of an old trunk.
TEST(TunnelFailureTest, OldTrunkIsReplacedBeforeItDrainsAndItsFlowsFinish) {
  LocalServer local;
  Tunnel::Options options;
  options.trunks.max_age = absl::Milliseconds(100);
  Tunnel tunnel(options);
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer old_client = tunnel.Connect();
  ASSERT_TRUE(old_client.Send("x"));
  Peer old_server = local.Accept();
  ASSERT_EQ(old_server.Read(1), "x");
  constexpr uint64_t kGenerations = 4;
  while (tunnel.worker().trunks_up.Value() < kGenerations) {
    // A client that arrives at any time finds a trunk at once.
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send("y"));
    Peer server = local.Accept();
    ExpectExchange(client, server, "", "answer");
  }
  ExpectExchange(old_client, old_server, "still", "here");
  EXPECT_EQ(tunnel.worker().no_endpoint.Value(), 0u);
  EXPECT_EQ(tunnel.worker().trunk_lost.Value(), 0u);
}

TEST(TunnelFailureTest, LostAgentResetsOnlyItsFlows) {
  LocalServer first_server;
  LocalServer second_server;
  Tunnel tunnel;
  const size_t first = tunnel.AddAgent(first_server.address());
  const size_t second = tunnel.AddAgent(second_server.address(), 0);
  tunnel.Start();
  Peer lost = tunnel.Connect();
  Peer lost_server = first_server.Accept();
  ExpectExchange(lost, lost_server, "question", "half an ans");
  tunnel.SetWeight(first, 0);
  tunnel.SetWeight(second, 1);
  tunnel.Apply();
  // A worker may take a client before it takes the new table.
  std::vector<Peer> tries;
  do {
    tries.push_back(tunnel.Connect());
  } while (!second_server.Knocked(50) && tries.size() < 100);
  Peer safe = std::move(tries.back());
  Peer safe_server = second_server.Accept();
  tunnel.Kill(first);
  EXPECT_EQ(lost.ReadToEnd(), "");
  EXPECT_EQ(lost.ending(), Ending::kReset) << "a FIN would make half a reply look complete";
  lost_server.ReadToEnd();
  EXPECT_EQ(lost_server.ending(), Ending::kReset);
  ExpectExchange(safe, safe_server, "still", "here");
  const uint64_t lost_flows = tries.size();
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().trunk_lost.Value() == lost_flows; }));
  EXPECT_EQ(tunnel.cell(first).trunk_losses.Value(), lost_flows);
}

// A server that received the bytes may have acted on them.
TEST(TunnelFailureTest, FlowOfALostTrunkIsNeverRetried) {
  LocalServer first_server;
  LocalServer second_server;
  Tunnel tunnel;
  const size_t first = tunnel.AddAgent(first_server.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("pay 100"));
  Peer server = first_server.Accept();
  EXPECT_EQ(server.Read(7), "pay 100");
  tunnel.AddAgent(second_server.address());
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().trunks_up.Value() == 2; }));
  tunnel.Kill(first);
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_FALSE(second_server.Knocked(50));
}

TEST(TunnelFailureTest, FlowsOfARemovedEndpointContinue) {
  LocalServer first_server;
  LocalServer second_server;
  Tunnel tunnel;
  const size_t first = tunnel.AddAgent(first_server.address());
  tunnel.Start();
  Peer old_client = tunnel.Connect();
  Peer old_server = first_server.Accept();
  tunnel.Remove(first);
  tunnel.AddAgent(second_server.address());
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().trunks_up.Value() == 2; }));
  Peer client = tunnel.Connect();
  Peer server = second_server.Accept();
  ExpectExchange(client, server, "new", "new");
  for (int i = 0; i < 3; ++i) ExpectExchange(old_client, old_server, "old", "old");
  EXPECT_EQ(tunnel.cell(first).active.Value(), 1);
  old_client.ShutdownWrite();
  EXPECT_EQ(old_server.ReadToEnd(), "");
  ASSERT_TRUE(old_server.Send("bye"));
  old_server.Close();
  EXPECT_EQ(old_client.ReadToEnd(), "bye");
  EXPECT_EQ(old_client.ending(), Ending::kFin);
  EXPECT_TRUE(Eventually([&] { return tunnel.cell(first).active.Value() == 0; }));
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().trunks.Value() == 1; }))
      << "its trunk must close";
}

// The endpoint left the table and returned while a flow from before was still open.
TEST(TunnelFailureTest, ReturningEndpointCountsItsEarlierFlows) {
  LocalServer local;
  Tunnel tunnel;
  const size_t endpoint = tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer old_client = tunnel.Connect();
  Peer old_server = local.Accept();
  ExpectExchange(old_client, old_server, "old", "old");
  tunnel.Remove(endpoint);
  tunnel.Apply();
  tunnel.Restore(endpoint);
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().trunks_up.Value() == 2; }));
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  ExpectExchange(client, server, "new", "new");
  EXPECT_EQ(tunnel.cell(endpoint).active.Value(), 2);
  client.Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel.cell(endpoint).active.Value() == 1; }));
  ExpectExchange(old_client, old_server, "old", "old");
  old_client.Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel.cell(endpoint).active.Value() == 0; }));
}

TEST(TunnelFailureTest, ClientBeforeAnyEndpointIsServedOnceOneIsAdded) {
  LocalServer local;
  Tunnel tunnel({.limits = {.connect_timeout = absl::Seconds(20)}});
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("early"));
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 1; }));
  tunnel.AddAgent(local.address());
  tunnel.Apply();
  Peer server = local.Accept();
  ExpectExchange(client, server, "", "");
  EXPECT_EQ(server.Read(5), "early");
}

TEST(TunnelFailureTest, PendingClientIsServedOnceADrainedEndpointRegainsItsWeight) {
  LocalServer local;
  Tunnel tunnel({.limits = {.connect_timeout = absl::Seconds(20)}});
  const size_t endpoint = tunnel.AddAgent(local.address(), /*weight=*/0);
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("early"));
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 1; }));
  tunnel.SetWeight(endpoint, 1);
  tunnel.Apply();
  Peer server = local.Accept();
  EXPECT_EQ(server.Read(5), "early");
}

TEST(TunnelFailureTest, ClientThatLeavesThePendingQueueIsForgotten) {
  Tunnel tunnel({.limits = {.connect_timeout = absl::Milliseconds(100)}});
  tunnel.Start();
  for (int i = 0; i < 10; ++i) tunnel.Connect().Reset();
  for (int i = 0; i < 10; ++i) tunnel.Connect().Close();
  ASSERT_TRUE(Eventually([&] { return tunnel.listener().accepted.Value() == 20; }));
  EXPECT_TRUE(Eventually([&] { return tunnel.clients() == 0; }));
}

TEST(TunnelFailureTest, StoppingProxyResetsOpenFlows) {
  LocalServer local;
  auto tunnel = std::make_unique<Tunnel>();
  tunnel->AddAgent(local.address());
  tunnel->Start();
  Peer client = tunnel->Connect();
  Peer server = local.Accept();
  ExpectExchange(client, server, "question", "half");
  tunnel.reset();
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kReset);
  server.ReadToEnd();
  EXPECT_EQ(server.ending(), Ending::kReset);
}

// No client is connected at this instant, but a worker in the middle of its pass may accept a
// waiting one, which used to be reset a moment later.
TEST(TunnelFailureTest, DrainWaitsForABusyWorker) {
  LocalServer local;
  // They outlive the tunnel, whose worker blocks in its memory measurement.
  std::atomic<bool> busy = false;
  std::atomic<bool> stuck = false;
  Tunnel::Options options;
  options.memory = [&](const TrafficStats&) {
    while (busy) stuck = true;
    return MemoryReading{.used_bytes = 0, .budget_bytes = int64_t{1} << 40};
  };
  Tunnel tunnel(std::move(options));
  tunnel.AddAgent(local.address());
  tunnel.Start();
  busy = true;
  ASSERT_TRUE(Eventually([&] { return stuck.load(); }));
  std::future<void> drain =
      std::async(std::launch::async, [&] { tunnel.data_plane().Drain(absl::Seconds(20)); });
  EXPECT_EQ(drain.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  busy = false;
  EXPECT_EQ(drain.wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(TunnelFailureTest, DrainedProxyAcceptsNoClientsAndWaitsForTheLastFlow) {
  LocalServer local;
  Tunnel tunnel;
  tunnel.AddAgent(local.address());
  tunnel.Start();
  const Address address = tunnel.listening();
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  std::thread drain([&] { tunnel.data_plane().Drain(absl::Minutes(1)); });
  EXPECT_TRUE(Eventually([&] {
    Peer late = test::ConnectPeer(address);
    if (!late) return true;
    late.Reset();
    return false;
  })) << "still listening";
  ExpectExchange(client, server, "still", "here");
  client.Close();
  server.ReadToEnd();
  server.Close();
  drain.join();
  EXPECT_EQ(tunnel.clients(), 0);
}

// Speaks just enough HTTP/2 to come up, then closes.
TEST(TunnelFailureTest, AgentThatClosesRightAfterTheHandshakeIsRedialledWithBackoff) {
  LocalServer fake_agent;
  Tunnel tunnel;
  tunnel.AddEndpoint(fake_agent.address());
  tunnel.Apply();
  const MonotonicTime start = MonotonicNow();
  for (int i = 0; i < 5; ++i) {
    Peer trunk = fake_agent.Accept();
    ASSERT_TRUE(trunk);
    test::Http2Server agent;
    ASSERT_TRUE(trunk.Send(agent.TakeOutput()));
    ASSERT_TRUE(Eventually([&] { return tunnel.worker().trunk.reads.Value() > uint64_t(i); }));
  }
  // Four waits of at least 50, 100, 200 and 400 ms.
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(700));
}

}  // namespace
}  // namespace trunkline
