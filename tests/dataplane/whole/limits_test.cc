// Limits of a proxy: clients, streams of a trunk, timeouts, file descriptors.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/no_descriptors.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectExchange;
using test::InMode;
using test::LocalServer;
using test::NoDescriptors;
using test::Peer;
using test::Serve;
using test::Tunnel;

class LimitsTest : public ::testing::TestWithParam<ForwardingMode> {};

INSTANTIATE_TEST_SUITE_P(Modes, LimitsTest, ::testing::ValuesIn(test::kByteModes),
                         test::kNameOfMode);

TEST_P(LimitsTest, ClientAboveTheLimitWaitsAndIsServedWhenThereIsRoom) {
  LocalServer local;
  Tunnel tunnel(InMode(GetParam(), {.limits = {.max_clients = 2}}));
  Serve(tunnel, GetParam(), local);
  Peer first = tunnel.Connect();
  Peer second = tunnel.Connect();
  Peer first_server = local.Accept();
  Peer second_server = local.Accept();
  Peer third = tunnel.Connect();
  ASSERT_TRUE(third.Send("patience"));
  EXPECT_FALSE(local.Knocked(60));
  EXPECT_EQ(tunnel.clients(), 2);
  EXPECT_TRUE(Eventually([&] { return tunnel.listener().pauses.Value() > 0; }));
  first.Reset();
  Peer third_server = local.Accept();
  ASSERT_TRUE(third_server);
  EXPECT_EQ(third_server.Read(8), "patience");
}

TEST_P(LimitsTest, ClientLimitOfTheProcessApplies) {
  LocalServer local;
  Tunnel tunnel(InMode(GetParam(), {.max_clients = 3}));
  Serve(tunnel, GetParam(), local);
  std::vector<Peer> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(tunnel.Connect());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(local.Accept());
  EXPECT_FALSE(local.Knocked(60));
  EXPECT_EQ(tunnel.clients(), 3);
}

TEST_P(LimitsTest, ClientLimitCoversAllWorkersTogether) {
  LocalServer local;
  Tunnel tunnel(InMode(GetParam(), {.workers = 2, .limits = {.max_clients = 4}}));
  Serve(tunnel, GetParam(), local);
  // Enough clients for the kernel to give each worker more than the limit.
  std::vector<Peer> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(tunnel.Connect());
  std::vector<Peer> servers;
  for (int i = 0; i < 4; ++i) servers.push_back(local.Accept());
  // Two workers may take the last place at the same instant.
  if (local.Knocked(60)) servers.push_back(local.Accept());
  EXPECT_FALSE(local.Knocked(60));
  EXPECT_LE(tunnel.clients(), 5);
}

Tunnel::Options SmallTrunks() {
  Tunnel::Options options;
  options.trunks.max_trunks = 1;
  options.agent_max_streams = 2;
  options.limits.connect_timeout = absl::Seconds(20);
  return options;
}

TEST(TunnelLimitsTest, ClientIsServedWhenAStreamOfTheFullTrunksEnds) {
  LocalServer local;
  Tunnel tunnel(SmallTrunks());
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer first = tunnel.Connect();
  Peer first_server = local.Accept();
  Peer second = tunnel.Connect();
  Peer second_server = local.Accept();
  std::vector<Peer> waiting;
  for (int i = 0; i < 5; ++i) {
    waiting.push_back(tunnel.Connect());
    ASSERT_TRUE(waiting.back().Send(std::to_string(i)));
  }
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 7; }));
  EXPECT_FALSE(local.Knocked(30));
  // Clients leave and are served in their order of arrival.
  first.Reset();
  for (int i = 0; i < 5; ++i) {
    Peer server = local.Accept();
    ASSERT_TRUE(server);
    EXPECT_EQ(server.Read(1), std::to_string(i));
    ExpectExchange(second, second_server, "still", "here");
    waiting[i].Reset();
    server.ReadToEnd();
  }
}

TEST(TunnelLimitsTest, ClientIsAssignedElsewhereIfThePickedEndpointIsFull) {
  LocalServer small_server;
  LocalServer big_server;
  Tunnel tunnel(SmallTrunks());
  // The first endpoint is nearly always picked, and has room for two.
  tunnel.AddAgent(small_server.address(), 1000);
  tunnel.AddAgent(big_server.address(), 1);
  tunnel.Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(tunnel.Connect());
    ASSERT_TRUE(Eventually([&] {
      return tunnel.cell(0).connects.Value() + tunnel.cell(1).connects.Value() ==
             static_cast<uint64_t>(i + 1);
    })) << "client "
        << i << " waits";
  }
  EXPECT_EQ(tunnel.cell(0).active.Value(), 2);
  EXPECT_EQ(tunnel.cell(1).active.Value(), 2);
}

TEST(TunnelLimitsTest, TrunkWhoseStreamIdsRunOutIsReplaced) {
  LocalServer local;
  Tunnel::Options options;
  options.trunks.last_stream_id = 9;  // five streams: 1, 3, 5, 7, 9
  options.limits.connect_timeout = absl::Seconds(20);
  Tunnel tunnel(options);
  tunnel.AddAgent(local.address());
  tunnel.Start();
  for (int i = 0; i < 18; ++i) {
    Peer client = tunnel.Connect();
    Peer server = local.Accept();
    ASSERT_TRUE(server) << i;
    ExpectExchange(client, server, "question", "answer");
    client.Close();
    server.ReadToEnd();
  }
  EXPECT_GE(tunnel.worker().trunks_up.Value(), 4u);
}

TEST_P(LimitsTest, ClientIsResetAfterTheConnectTimeoutIfNoServerIsReachable) {
  Tunnel tunnel(InMode(GetParam(), {.limits = {.connect_timeout = absl::Milliseconds(60)}}));
  tunnel.Apply();
  const MonotonicTime start = MonotonicNow();
  Peer client = tunnel.Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(50));
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().no_endpoint.Value() == 1; }));
}

// The agent accepts the trunk and the stream, but its server's accept queue is full and stays so.
TEST(TunnelLimitsTest, ClientIsResetAfterTheConnectTimeoutIfItsServerDoesNotAccept) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);
  Peer filler = test::ConnectPeer(local.address());
  Tunnel tunnel({.limits = {.connect_timeout = absl::Milliseconds(60)}});
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().timeouts.Value() == 1; }));
}

TEST_P(LimitsTest, SilentPairIsResetAfterTheFirstByteTimeout) {
  LocalServer local;
  Tunnel tunnel(InMode(GetParam(), {.limits = {.first_byte_timeout = absl::Milliseconds(60)}}));
  Serve(tunnel, GetParam(), local);
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kReset);
  server.ReadToEnd();
  EXPECT_EQ(server.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().timeouts.Value() == 1; }));
}

TEST_P(LimitsTest, OneByteFromEitherSideEndsTheFirstByteTimeout) {
  LocalServer local;
  constexpr absl::Duration kFirstByte = absl::Milliseconds(800);
  Tunnel tunnel(InMode(GetParam(), {.limits = {.first_byte_timeout = kFirstByte}}));
  Serve(tunnel, GetParam(), local);
  Peer speaking_client = tunnel.Connect();
  Peer its_server = local.Accept();
  ExpectExchange(speaking_client, its_server, "x", "");
  Peer silent_client = tunnel.Connect();
  Peer speaking_server = local.Accept();
  ExpectExchange(silent_client, speaking_server, "", "x");
  // Waits longer than the timeout.
  const int twice = static_cast<int>(absl::ToInt64Milliseconds(2 * kFirstByte));
  EXPECT_FALSE(test::WaitFor(speaking_client.fd(), POLLIN, twice));
  ExpectExchange(speaking_client, its_server, "still", "here");
  ExpectExchange(silent_client, speaking_server, "still", "here");
}

TEST_P(LimitsTest, FlowThatFallsSilentIsResetAfterTheIdleTimeout) {
  LocalServer local;
  Tunnel tunnel(InMode(GetParam(), {.limits = {.idle_timeout = absl::Milliseconds(500)}}));
  Serve(tunnel, GetParam(), local);
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  const MonotonicTime start = MonotonicNow();
  ExpectExchange(client, server, "question", "answer");
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(450));
  server.ReadToEnd();
  EXPECT_EQ(server.ending(), Ending::kReset);
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_P(LimitsTest, WithoutDescriptorsNewClientsWaitWhileOldOnesGoOnWithoutSpinning) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  LocalServer local;
  Tunnel tunnel(InMode(GetParam()));
  Serve(tunnel, GetParam(), local);
  Peer old_client = tunnel.Connect();
  Peer old_server = local.Accept();
  ExpectExchange(old_client, old_server, "before", "before");
  constexpr int kWaiting = 10;
  const Address listening = tunnel.listening();
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < kWaiting; ++i) sockets.push_back(test::NewClientSocket());

  NoDescriptors none;
  std::vector<Peer> waiting;
  for (UniqueFd& socket : sockets) {
    waiting.push_back(test::ConnectSocket(std::move(socket), listening));
    ASSERT_TRUE(waiting.back().Send("hello"));
  }
  ASSERT_TRUE(Eventually([&] { return tunnel.listener().pauses.Value() > 0; }))
      << "the pause is counted";
  const MonotonicTime start = MonotonicNow();
  const double cpu_before = CpuSeconds();
  while (MonotonicNow() - start < absl::Milliseconds(300)) {
    ExpectExchange(old_client, old_server, "during", "during");
    EXPECT_FALSE(test::WaitFor(local.fd(), POLLIN, 20));
  }
  // A spinning loop would use all of it.
  EXPECT_LT(CpuSeconds() - cpu_before, 0.15);
  none.GiveBack();
  for (int i = 0; i < kWaiting; ++i) {
    Peer server = local.Accept();
    ASSERT_TRUE(server);
    EXPECT_EQ(server.Read(5), "hello");
  }
  ExpectExchange(old_client, old_server, "after", "after");
}

}  // namespace
}  // namespace trunkline
