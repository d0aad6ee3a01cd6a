// Bytes through a proxy in the modes that forward them unchanged: either end may send first, any
// amount and at any speed, without harm to other flows.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "tests/common/base/random_bytes.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::ExpectExchange;
using test::LocalServer;
using test::Peer;
using test::RandomBytes;
using test::Tunnel;

class FlowTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  void Start(const LocalServer& local) { test::Serve(tunnel_, GetParam(), local); }
  Tunnel tunnel_{test::InMode(GetParam())};
};

INSTANTIATE_TEST_SUITE_P(Modes, FlowTest, ::testing::ValuesIn(test::kByteModes), test::kNameOfMode);

// Tunnel mode only: the agent's connects to its server, and the windows of streams.
class TunnelFlowTest : public ::testing::Test {
 protected:
  void Start(const LocalServer& local) { test::Serve(tunnel_, ForwardingMode::kTunnel, local); }
  Tunnel tunnel_;
};

TEST_P(FlowTest, ServerMaySpeakFirst) {
  LocalServer local;
  Start(local);
  Peer client = tunnel_.Connect();
  Peer server = local.Accept();
  ASSERT_TRUE(server.Send("220 ready"));
  EXPECT_EQ(client.Read(9), "220 ready");
  ExpectExchange(client, server, "HELO", "250 ok");
}

TEST_F(TunnelFlowTest, UnixServerIsReachable) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  Start(local);
  Peer client = tunnel_.Connect();
  Peer server = local.Accept();
  ExpectExchange(client, server, "question", "answer");
  client.ShutdownWrite();
  EXPECT_EQ(server.ReadToEnd(), "");
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

// A full accept queue is not a refusal.
TEST_F(TunnelFlowTest, FullUnixAcceptQueueIsRetriedUntilItAccepts) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("s")});
  ASSERT_EQ(listen(local.fd(), 0), 0);  // a queue of one
  Start(local);
  std::vector<Peer> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(tunnel_.Connect());
    ASSERT_TRUE(clients.back().Send(std::to_string(i)));
  }
  std::string seen;
  std::vector<Peer> servers;
  for (int i = 0; i < 10; ++i) {
    servers.push_back(local.Accept());
    ASSERT_TRUE(servers.back());
    seen += servers.back().Read(1);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, "0123456789");
  EXPECT_EQ(tunnel_.cell(0).connect_refused.Value(), 0u);
}

TEST_P(FlowTest, ThreeMegabytesBothWaysAtOnceWithASlowReader) {
  LocalServer local;
  Start(local);
  Peer client = tunnel_.Connect();
  Peer server = local.Accept();
  const std::string up = RandomBytes(3'000'000, 1);
  const std::string down = RandomBytes(3'000'000, 2);
  std::thread client_writer([&] {
    EXPECT_TRUE(client.Send(up));
    client.ShutdownWrite();
  });
  std::thread server_writer([&] {
    EXPECT_TRUE(server.Send(down));
    server.ShutdownWrite();
  });
  std::thread server_reader([&] { EXPECT_EQ(server.ReadToEnd(), up); });
  // Reads a little at a time, so that backpressure stops and resumes the sender repeatedly.
  std::string received;
  while (received.size() < down.size()) {
    const std::string piece = client.Read(std::min<size_t>(20'000, down.size() - received.size()));
    ASSERT_FALSE(piece.empty());
    received += piece;
    std::this_thread::yield();
  }
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
  EXPECT_EQ(received, down);
  client_writer.join();
  server_writer.join();
  server_reader.join();
}

// Sends until backpressure stops it. Returns the number of bytes sent.
size_t Fill(Peer& sender, const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size() && test::WaitFor(sender.fd(), POLLOUT, 300)) {
    sent += sender.SendWhatFits(bytes.substr(sent, 1 << 18));
  }
  return sent;
}

TEST_F(TunnelFlowTest, StalledReadersBufferBoundedBytesWithoutHarmToOthers) {
  LocalServer local;
  Start(local);
  constexpr int kStalled = 20;
  constexpr int kReceiveBuffer = 64 * 1024;
  const std::string endless = RandomBytes(30'000'000, 3);
  std::vector<Peer> stalled;
  std::vector<Peer> servers;
  std::vector<size_t> sent;
  for (int i = 0; i < kStalled; ++i) {
    stalled.push_back(tunnel_.Connect(kReceiveBuffer));
    servers.push_back(local.Accept());
    sent.push_back(Fill(servers.back(), endless));
    // Two windows at most in our two processes; the rest is the kernel's send and receive buffers
    // of four sockets.
    ASSERT_LT(sent.back(), 20'000'000u) << "no backpressure reached the sender";
  }
  for (int i = 0; i < 50; ++i) {
    Peer client = tunnel_.Connect();
    Peer server = local.Accept();
    ExpectExchange(client, server, RandomBytes(100'000, 4), RandomBytes(100'000, 5));
  }
  // They resume and lose nothing.
  for (int i = 0; i < kStalled; ++i) {
    servers[i].ShutdownWrite();
    EXPECT_EQ(stalled[i].ReadToEnd() == endless.substr(0, sent[i]), true) << i;
    EXPECT_EQ(stalled[i].ending(), Ending::kFin);
  }
}

TEST_F(TunnelFlowTest, ServerThatDoesNotReadStopsItsClientOnly) {
  LocalServer local;
  Start(local);
  Peer client = tunnel_.Connect();
  Peer server = local.Accept();
  const std::string endless = RandomBytes(30'000'000, 6);
  const size_t sent = Fill(client, endless);
  ASSERT_LT(sent, endless.size());
  Peer live = tunnel_.Connect();
  Peer live_server = local.Accept();
  ExpectExchange(live, live_server, "question", "answer");
  client.ShutdownWrite();
  EXPECT_EQ(server.ReadToEnd() == endless.substr(0, sent), true);
}

TEST(DirectFlowTest, ClientThatWaitsForAServerBeyondTheIdleTimeoutIsServed) {
  constexpr absl::Duration kIdle = absl::Seconds(2);
  LocalServer local;
  Tunnel tunnel(
      test::InMode(ForwardingMode::kDirect,
                   {.limits = {.connect_timeout = absl::Seconds(20), .idle_timeout = kIdle}}));
  tunnel.AddEndpoint(local.address(), /*weight=*/0);
  tunnel.Apply();
  Peer client = tunnel.Connect();
  EXPECT_FALSE(test::WaitFor(client.fd(), POLLIN, absl::ToInt64Milliseconds(kIdle) + 200));
  tunnel.SetWeight(0, 1);
  tunnel.Apply();
  Peer server = local.Accept();
  EXPECT_FALSE(test::WaitFor(client.fd(), POLLIN, 100))
      << "the idle timeout must not run before the flow starts";
  ExpectExchange(client, server, "patience", "rewarded");
}

TEST_P(FlowTest, EndpointCountsItsBytes) {
  LocalServer local;
  Start(local);
  for (int i = 0; i < 3; ++i) {
    Peer client = tunnel_.Connect();
    Peer server = local.Accept();
    ExpectExchange(client, server, "12345", "1234567");
    EXPECT_EQ(tunnel_.cell(0).active.Value(), 1);
    client.Close();
    server.ReadToEnd();
    server.Close();
    ASSERT_TRUE(test::Eventually([&] { return tunnel_.clients() == 0; }));
  }
  EXPECT_EQ(tunnel_.cell(0).flows.Value(), 3u);
  EXPECT_EQ(tunnel_.cell(0).active.Value(), 0);
  EXPECT_EQ(tunnel_.cell(0).bytes_to_server.Value(), 15u);
  EXPECT_EQ(tunnel_.cell(0).bytes_to_client.Value(), 21u);
  EXPECT_EQ(tunnel_.cell(0).connects.Value(), 3u);
  EXPECT_EQ(tunnel_.listener().accepted.Value(), 3u);
}

}  // namespace
}  // namespace trunkline
