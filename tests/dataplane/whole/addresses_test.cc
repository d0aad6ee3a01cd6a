// Addresses and endpoints that do not accept connections, beside one that does.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::Tunnel;

class AddressesTest : public ::testing::TestWithParam<ForwardingMode> {};

TEST_P(AddressesTest, EveryAddressIsTriedBeforeAClientFails) {
  const SocketAddress closed = ResolveAddress(RefusingAddress()).value();
  const SocketAddress closed_too = ResolveAddress(RefusingAddress()).value();
  Tunnel::Options options;
  options.adapt = [&](EndpointSet& set) {
    for (Endpoint& endpoint : set.endpoints) {
      endpoint.addresses = std::make_shared<const std::vector<SocketAddress>>(
          std::vector<SocketAddress>{closed, closed_too, endpoint.addresses->front()});
    }
  };
  const LocalServer local;
  Tunnel tunnel(test::InMode(GetParam(), options));
  test::Serve(tunnel, GetParam(), local);
  Peer server;
  for (int i = 0; i < 3; ++i) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send("question\n"));
    // Later requests of message mode use the first connection.
    if (i == 0 || GetParam() != ForwardingMode::kMessage) server = local.Accept();
    ASSERT_TRUE(server);
    EXPECT_EQ(server.Read(9), "question\n");
    ASSERT_TRUE(server.Send("answer\n"));
    EXPECT_EQ(client.Read(7), "answer\n");
  }
  EXPECT_EQ(tunnel.worker().connect_refused.Value(), 0u);
}

class SilentEndpointTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  SilentEndpointTest() : tunnel_(test::InMode(GetParam())) {}

  void Add(const Address& server, double weight) {
    if (GetParam() == ForwardingMode::kTunnel) {
      tunnel_.AddAgent(server, weight);
    } else {
      tunnel_.AddEndpoint(server, weight);
    }
  }
  void Start() {
    if (GetParam() == ForwardingMode::kTunnel) {
      tunnel_.Start();
    } else {
      tunnel_.Apply();
    }
  }
  uint64_t Failures(size_t endpoint) const {
    const EndpointCell& cell = tunnel_.cell(endpoint);
    return cell.connect_timeouts.Value() + cell.connect_refused.Value();
  }
  // Answers what arrives at `server` until the client has an answer or its end.
  bool Serve(const LocalServer& server, const Peer& client) {
    return test::Eventually([&] {
      if (server.Knocked(0)) connections_.push_back(server.Accept());
      for (Peer& connection : connections_) {
        if (!test::WaitFor(connection.fd(), POLLIN, 0)) continue;
        if (connection.Read(4) != "ask\n") continue;
        EXPECT_TRUE(connection.Send("say\n"));
      }
      return test::WaitFor(client.fd(), POLLIN, 0);
    });
  }

  Tunnel tunnel_;
  std::vector<Peer> connections_;  // of the server
};

// With the default timeouts of all parts.
TEST_P(SilentEndpointTest, NoClientFailsWithTwoSilentEndpointsOfThree) {
  const std::array<test::SilentServer, 2> silent;
  const LocalServer local;
  // Nearly every client meets both silent endpoints first.
  for (const test::SilentServer& server : silent) Add(server.address(), 1000);
  Add(local.address(), 1);
  Start();
  while (Failures(0) == 0 || Failures(1) == 0) {
    Peer client = tunnel_.Connect();
    ASSERT_TRUE(client.Send("ask\n"));
    ASSERT_TRUE(Serve(local, client));
    ASSERT_EQ(client.Read(4), "say\n");
  }
  EXPECT_EQ(Failures(2), 0u);
  EXPECT_EQ(tunnel_.worker().timeouts.Value(), 0u);
  EXPECT_EQ(tunnel_.worker().no_endpoint.Value(), 0u);
  EXPECT_EQ(tunnel_.worker().connection_lost.Value(), 0u);
}

TEST(SilentServerTest, ClientsOfDirectModeGetAnotherEndpointAndTheSilentOneIsEjected) {
  constexpr size_t kSilent = 0;
  const test::SilentServer silent;
  const LocalServer local;
  Tunnel::Options options;
  options.limits.connect_timeout = absl::Seconds(1);
  Tunnel tunnel(test::InMode(ForwardingMode::kDirect, options));
  ASSERT_EQ(tunnel.AddEndpoint(silent.address()), kSilent);
  tunnel.AddEndpoint(local.address());
  tunnel.Apply();
  const auto ejected = [&] { return tunnel.cell(kSilent).ejected.Value() == 1; };
  while (!ejected() && !testing::Test::HasFailure()) {
    std::vector<Peer> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(tunnel.Connect());
    for (size_t i = 0; i < clients.size(); ++i) {
      Peer server = local.Accept();
      ASSERT_TRUE(server) << "a client was left without a server";
    }
  }
  EXPECT_EQ(tunnel.worker().timeouts.Value(), 0u);
  // Not more than the clients that were connecting when the first one gave up.
  EXPECT_GE(tunnel.cell(kSilent).connect_timeouts.Value(), 1u);
  EXPECT_LE(tunnel.cell(kSilent).connect_timeouts.Value(), 4u);
  EXPECT_EQ(tunnel.cell(kSilent).connect_refused.Value(), 0u);
}

TEST(SilentServerTest, OnlyEndpointGetsAllTheTimeAndIsCounted) {
  const test::SilentServer silent;
  Tunnel::Options options;
  options.limits.connect_timeout = absl::Milliseconds(300);
  Tunnel tunnel(test::InMode(ForwardingMode::kDirect, options));
  tunnel.AddEndpoint(silent.address());
  tunnel.Apply();
  Peer client = tunnel.Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), test::Ending::kReset);
  EXPECT_TRUE(test::Eventually([&] { return tunnel.worker().timeouts.Value() == 1; }));
  EXPECT_EQ(tunnel.cell(0).connect_timeouts.Value(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Modes, AddressesTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);
INSTANTIATE_TEST_SUITE_P(Modes, SilentEndpointTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
