// Sends the client's address to the server in a PROXY protocol header: from the proxy itself in
// direct mode, from the agent in tunnel mode.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectExchange;
using test::HeaderFrom;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

// Returns the header that the server should get for `client`, which sent no header.
std::string HeaderOf(const Peer& client, ProxyVersion version) {
  return WriteProxyHeader(version, {OwnAddress(client.fd()), PeerAddress(client.fd())});
}

struct Way {
  ForwardingMode mode;
  ProxyVersion version;
};

Tunnel::Options Sending(const Way& way, bool accept = false) {
  Tunnel::Options options;
  options.adapt = [way, accept](EndpointSet& set) {
    set.send_proxy_protocol = way.version;
    set.accept_proxy_protocol = accept;
  };
  return InMode(way.mode, options);
}

class ClientAddressTest : public ::testing::TestWithParam<Way> {
 protected:
  void Serve(Tunnel& tunnel) { test::Serve(tunnel, GetParam().mode, server_); }
  ProxyVersion version() const { return GetParam().version; }

  LocalServer server_;
};

TEST_P(ClientAddressTest, ServerGetsTheHeaderBeforeTheFirstByte) {
  Tunnel tunnel(Sending(GetParam()));
  Serve(tunnel);
  for (int i = 0; i < 3; ++i) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send("hello"));
    Peer server = server_.Accept();
    const std::string header = HeaderOf(client, version());
    EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
    ExpectExchange(client, server, "more", "answer");
  }
}

TEST_P(ClientAddressTest, ServerThatSpeaksFirstGetsTheHeaderAtOnce) {
  Tunnel tunnel(Sending(GetParam()));
  Serve(tunnel);
  Peer client = tunnel.Connect();
  Peer server = server_.Accept();
  const std::string header = HeaderOf(client, version());
  EXPECT_EQ(server.Read(header.size()), header);
  ASSERT_TRUE(server.Send("welcome"));
  EXPECT_EQ(client.Read(7), "welcome");
}

TEST_P(ClientAddressTest, HeaderToTheServerHasTheAddressFromTheClientsHeader) {
  Tunnel tunnel(Sending(GetParam(), /*accept=*/true));
  Serve(tunnel);
  for (const std::string source : {"192.0.2.1:50000", "[2001:db8::1]:50000"}) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send(HeaderFrom(source, ProxyVersion::kV2) + "hello"));
    Peer server = server_.Accept();
    const std::string header = HeaderFrom(source, version());
    EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
  }
}

TEST_P(ClientAddressTest, HeaderWithoutAddressesMeansTheConnectionItself) {
  Tunnel tunnel(Sending(GetParam(), /*accept=*/true));
  Serve(tunnel);
  for (const ProxyVersion in : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send(WriteProxyHeader(in, {}) + "hello"));
    Peer server = server_.Accept();
    const std::string header = HeaderOf(client, version());
    EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
  }
}

TEST_P(ClientAddressTest, HeaderIsSentOnceAfterSeveralTries) {
  const bool tunnels = GetParam().mode == ForwardingMode::kTunnel;
  Tunnel tunnel(Sending(GetParam()));
  const Address refusing = test::RefusingAddress();
  // The refusing endpoint is nearly always picked first.
  if (tunnels) {
    tunnel.AddAgent(refusing, 1000);
    tunnel.AddAgent(server_.address());
    tunnel.Start();
  } else {
    tunnel.AddEndpoint(refusing, 1000);
    tunnel.AddEndpoint(server_.address());
    tunnel.Apply();
  }
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("hello"));
  Peer server = server_.Accept();
  const std::string header = HeaderOf(client, version());
  EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
  client.ShutdownWrite();
  EXPECT_EQ(server.ReadToEnd(), "");
}

TEST_P(ClientAddressTest, FinOfASilentClientFollowsItsHeader) {
  Tunnel tunnel(Sending(GetParam()));
  Serve(tunnel);
  Peer client = tunnel.Connect();
  const std::string header = HeaderOf(client, version());
  client.ShutdownWrite();
  Peer server = server_.Accept();
  EXPECT_EQ(server.ReadToEnd(), header);
  EXPECT_EQ(server.ending(), Ending::kFin);
}

TEST_P(ClientAddressTest, HeaderDoesNotCountAsTheFirstByteOfTheClient) {
  Tunnel::Options options = Sending(GetParam());
  options.limits.first_byte_timeout = absl::Milliseconds(100);
  Tunnel tunnel(options);
  Serve(tunnel);
  Peer client = tunnel.Connect();
  Peer server = server_.Accept();
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().timeouts.Value() == 1; }));
  EXPECT_EQ(tunnel.cell(0).bytes_to_server.Value(), 0u);
}

// The reset may arrive at any moment: with the connect, before the header is written, or after it.
TEST_P(ClientAddressTest, ResetOfAServerRightAfterTheConnectReachesTheClient) {
  constexpr int kClients = 200;
  Tunnel tunnel(Sending(GetParam()));
  Serve(tunnel);
  std::thread resets([this] {
    for (int i = 0; i < kClients; ++i) server_.Accept().Reset();
  });
  for (int i = 0; i < kClients; ++i) {
    Peer client = tunnel.Connect();
    EXPECT_EQ(client.ReadToEnd(), "");
    EXPECT_EQ(client.ending(), Ending::kReset) << "client " << i;
  }
  resets.join();
}

INSTANTIATE_TEST_SUITE_P(Ways, ClientAddressTest,
                         ::testing::Values(Way{ForwardingMode::kDirect, ProxyVersion::kV1},
                                           Way{ForwardingMode::kDirect, ProxyVersion::kV2},
                                           Way{ForwardingMode::kTunnel, ProxyVersion::kV1},
                                           Way{ForwardingMode::kTunnel, ProxyVersion::kV2}),
                         [](const auto& param) {
                           return test::NameOf(param.param.mode) +
                                  (param.param.version == ProxyVersion::kV1 ? "V1" : "V2");
                         });

TEST(AgentProxyProtocolTest, AgentSendsAHeaderOfItsOwnIfItsServerRequiresOne) {
  LocalServer local;
  // The service sends no header, so the agent gets no address.
  Tunnel tunnel({.agent_proxy_protocol = ProxyVersion::kV2});
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("hello"));
  Peer server = local.Accept();
  const std::string header = WriteProxyHeader(ProxyVersion::kV2, {});
  EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
}

TEST(AgentProxyProtocolTest, AgentsVersionOverridesTheServices) {
  LocalServer local;
  Tunnel::Options options = Sending({ForwardingMode::kTunnel, ProxyVersion::kV1});
  options.agent_proxy_protocol = ProxyVersion::kV2;
  Tunnel tunnel(options);
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  Peer server = local.Accept();
  const std::string header = HeaderOf(client, ProxyVersion::kV2);
  EXPECT_EQ(server.Read(header.size()), header);
}

TEST(AgentProxyProtocolTest, UnixServerGetsTheHeader) {
  test::ScratchFolder folder;
  LocalServer local(Address{.unix_path = folder.File("server")});
  Tunnel tunnel(Sending({ForwardingMode::kTunnel, ProxyVersion::kV1}));
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("hello"));
  Peer server = local.Accept();
  const std::string header = HeaderOf(client, ProxyVersion::kV1);
  EXPECT_EQ(server.Read(header.size() + 5), header + "hello");
}

TEST(AgentProxyProtocolTest, NoHeaderIsSentUnlessConfigured) {
  LocalServer local;
  Tunnel tunnel;
  tunnel.AddAgent(local.address());
  tunnel.Start();
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("hello"));
  Peer server = local.Accept();
  EXPECT_EQ(server.Read(5), "hello");
}

}  // namespace
}  // namespace trunkline
