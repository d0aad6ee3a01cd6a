// A proxy with fewer descriptors than its clients and their servers need: clients that do not fit
// wait, and no endpoint is blamed.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
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
using test::Tunnel;

// Exceeds the number of refusals that would eject an endpoint.
constexpr uint64_t kManyTries = 8;
// Requests with this prefix share connections; any other request asks for a dedicated connection.
constexpr char kSharedPrefix[] = "get ";

// The way a client reaches its server. In message mode, its request decides.
struct Way {
  const char* name;
  ForwardingMode mode;
  std::string question;
};

const Way kDirect = {"Direct", ForwardingMode::kDirect, "hello\n"};
const Way kShared = {"Shared", ForwardingMode::kMessage, "get it\n"};
const Way kDedicated = {"Dedicated", ForwardingMode::kMessage, "watch it\n"};
const Way kTunnel = {"Tunnel", ForwardingMode::kTunnel, "hello\n"};

constexpr auto kNameOfWay = [](const auto& info) { return info.param.name; };

Tunnel::Options For(const Way& way, Tunnel::Options options) {
  if (way.mode == ForwardingMode::kTunnel) return options;
  options.adapt = [adapt = options.adapt](EndpointSet& set) {
    if (set.mode == ForwardingMode::kMessage) {
      auto message = std::make_shared<MessageService>(*set.message);
      message->connection.codec =
          NewDelimiterCodec({.delimiter = "\n", .shared_prefixes = {kSharedPrefix}}).value();
      // A request in flight then occupies its connection.
      message->connection.max_in_flight = 1;
      set.message = std::move(message);
    }
    adapt(set);
  };
  return InMode(way.mode, std::move(options));
}

// Expects that the server reads `question` and that `client` gets its answer.
void ExpectAnswered(Peer& server, Peer& client, const std::string& question) {
  ASSERT_EQ(server.Read(question.size()), question);
  ASSERT_TRUE(server.Send("here\n"));
  ASSERT_EQ(client.Read(5), "here\n");
}

class ShortageTest : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override { TRUNKLINE_SKIP_UNDER_SANITIZERS(); }
  void Start(Tunnel::Options options) {
    tunnel_ = std::make_unique<Tunnel>(For(GetParam(), std::move(options)));
    for (const LocalServer& server : servers_) tunnel_->AddEndpoint(server.address());
    tunnel_->Apply();
  }
  void ExpectNoEndpointBlamed() {
    for (size_t i = 0; i < std::size(servers_); ++i) {
      EXPECT_EQ(tunnel_->cell(i).connect_refused.Value(), 0u);
      EXPECT_EQ(tunnel_->cell(i).ejected.Value(), 0);
    }
    EXPECT_EQ(tunnel_->worker().connect_refused.Value(), 0u);
    EXPECT_EQ(tunnel_->worker().retries.Value(), 0u);
    EXPECT_EQ(tunnel_->worker().shared.resent.Value(), 0u);
  }
  Peer AcceptAnywhere() {
    const LocalServer* knocked = nullptr;
    EXPECT_TRUE(Eventually([&] {
      for (const LocalServer& server : servers_) {
        if (server.Knocked(0)) knocked = &server;
      }
      return knocked != nullptr;
    }));
    return knocked != nullptr ? knocked->Accept() : Peer();
  }
  Peer ConnectAndAsk(Peer client) {
    EXPECT_TRUE(client.Send(GetParam().question));
    return client;
  }

  LocalServer servers_[2];
  std::unique_ptr<Tunnel> tunnel_;
};

INSTANTIATE_TEST_SUITE_P(Ways, ShortageTest, ::testing::Values(kDirect, kShared, kDedicated),
                         kNameOfWay);

TEST_P(ShortageTest, ClientWaitsForADescriptorAndNoEndpointIsBlamed) {
  Start({.limits = {.connect_timeout = absl::Seconds(20)}});
  const bool has_old = GetParam().mode == ForwardingMode::kDirect;
  Peer old_client = has_old ? tunnel_->Connect() : Peer();
  Peer old_server = has_old ? AcceptAnywhere() : Peer();
  const int64_t old_clients = tunnel_->clients();
  const Address listening = tunnel_->listening();
  UniqueFd sockets[] = {test::NewClientSocket(), test::NewClientSocket()};

  NoDescriptors none;
  // The descriptor for the client itself.
  none.GiveOneBack();
  Peer first = ConnectAndAsk(test::ConnectSocket(std::move(sockets[0]), listening));
  const WorkerStats& worker = tunnel_->worker();
  ASSERT_TRUE(Eventually([&] { return worker.socket_shortages.Value() >= kManyTries; }));
  EXPECT_EQ(tunnel_->clients(), old_clients + 1);
  EXPECT_EQ(worker.sockets_short.Value(), 1);
  // While it waits, other clients stay in the accept queue.
  Peer second = ConnectAndAsk(test::ConnectSocket(std::move(sockets[1]), listening));
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().pauses.Value() > 0; }));
  if (has_old) ExpectExchange(old_client, old_server, "during", "during");
  EXPECT_FALSE(test::WaitFor(first.fd(), POLLIN, 0)) << "the client was reset";
  ExpectNoEndpointBlamed();

  none.GiveBack();
  Peer servers[] = {AcceptAnywhere(), AcceptAnywhere()};
  for (Peer& server : servers) {
    ASSERT_EQ(server.Read(GetParam().question.size()), GetParam().question);
  }
  for (Peer& server : servers) ASSERT_TRUE(server.Send("here\n"));
  EXPECT_EQ(first.Read(5), "here\n");
  EXPECT_EQ(second.Read(5), "here\n");
  EXPECT_TRUE(Eventually([&] { return worker.sockets_short.Value() == 0; }));
  ExpectNoEndpointBlamed();
}

TEST_P(ShortageTest, ClientThatWaitsInVainIsCountedAndEndsTheShortage) {
  Start({.limits = {.connect_timeout = absl::Milliseconds(100)}});
  const Address listening = tunnel_->listening();
  UniqueFd socket = test::NewClientSocket();
  NoDescriptors none;
  none.GiveOneBack();
  Peer client = ConnectAndAsk(test::ConnectSocket(std::move(socket), listening));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel_->worker().no_socket.Value() == 1; }));
  EXPECT_EQ(tunnel_->worker().no_endpoint.Value(), 0u);
  ExpectNoEndpointBlamed();
  // No flow needs a connection any more, so nothing signals that the shortage lasts.
  EXPECT_TRUE(Eventually([&] { return tunnel_->worker().sockets_short.Value() == 0; }));
}

TEST(TrunkShortageTest, TrunkIsDialedAsSoonAsThereIsADescriptor) {
  TRUNKLINE_SKIP_UNDER_SANITIZERS();
  LocalServer old_local;
  LocalServer local;
  Tunnel tunnel({.limits = {.connect_timeout = absl::Seconds(20)}});
  const size_t first = tunnel.AddAgent(old_local.address());
  tunnel.Start();
  Peer old_client = tunnel.Connect();
  Peer old_server = old_local.Accept();
  ExpectExchange(old_client, old_server, "before", "before");
  const uint64_t dials = tunnel.worker().dials.Value();
  tunnel.SetWeight(first, 0);
  tunnel.Apply();
  tunnel.AddAgent(local.address());
  Peer waiting = tunnel.Connect();
  ASSERT_TRUE(waiting.Send("early"));
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 2; }));

  NoDescriptors none;
  tunnel.Apply();
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().socket_shortages.Value() >= kManyTries; }));
  EXPECT_EQ(tunnel.worker().dials.Value(), dials);
  EXPECT_EQ(tunnel.worker().dial_failures.Value(), 0u);
  ExpectExchange(old_client, old_server, "during", "during");
  EXPECT_FALSE(test::WaitFor(waiting.fd(), POLLIN, 0)) << "the client was reset";
  none.GiveBack();
  Peer server = local.Accept();
  ASSERT_TRUE(server);
  EXPECT_EQ(server.Read(5), "early");
  EXPECT_EQ(tunnel.worker().dial_failures.Value(), 0u);
  EXPECT_EQ(tunnel.worker().no_endpoint.Value() + tunnel.worker().no_socket.Value(), 0u);
}

// The number of clients that fit into 8 sockets.
struct Fit {
  Way way;
  bool by_header;
  int clients;
};

class FitTest : public ::testing::TestWithParam<Fit> {
 protected:
  static constexpr size_t kSockets = 8;
  Tunnel::Options options() const {
    return test::Introduced(GetParam().by_header,
                            {.descriptors = {.sockets = kSockets, .late_sockets = 0}});
  }
};

constexpr auto kNameOfFit = [](const auto& info) {
  return std::string(info.param.way.name) + (info.param.by_header ? "ByHeader" : "");
};

// Each client has an upstream connection of its own, or all share one or a trunk. A request shows
// whether its client shares; until then two sockets are reserved for it.
const Fit kFits[] = {{.way = kDirect, .by_header = false, .clients = 4},
                     {.way = kDirect, .by_header = true, .clients = 4},
                     {.way = kDedicated, .by_header = false, .clients = 4},
                     {.way = kDedicated, .by_header = true, .clients = 4},
                     {.way = kShared, .by_header = false, .clients = 6},
                     {.way = kTunnel, .by_header = false, .clients = 7}};

INSTANTIATE_TEST_SUITE_P(Ways, FitTest, ::testing::ValuesIn(kFits), kNameOfFit);

TEST_P(FitTest, ClientsThatDoNotFitWaitUntilOthersLeave) {
  LocalServer local;
  Tunnel tunnel(For(GetParam().way, options()));
  test::Serve(tunnel, GetParam().way.mode, local);
  const auto all_in = [&] { return tunnel.clients() == GetParam().clients; };
  const std::string& question = GetParam().way.question;
  std::vector<Peer> clients;
  std::vector<Peer> servers;
  const bool shared = GetParam().way.name == kShared.name;
  for (int i = 0; i < GetParam().clients; ++i) {
    clients.push_back(tunnel.Connect());
    if (GetParam().by_header) continue;
    ASSERT_TRUE(clients.back().Send(question));
    if (i == 0 || !shared) servers.push_back(local.Accept());
    ExpectAnswered(servers.back(), clients.back(), question);
  }
  ASSERT_TRUE(Eventually(all_in));
  Peer last = tunnel.Connect();
  ASSERT_TRUE(Eventually([&] { return tunnel.listener().pauses.Value() > 2; }));
  EXPECT_TRUE(all_in());
  clients.front().Reset();
  ASSERT_TRUE(Eventually([&] {
    return tunnel.listener().accepted.Value() == static_cast<uint64_t>(GetParam().clients) + 1;
  }));
  EXPECT_TRUE(Eventually(all_in));
  EXPECT_EQ(tunnel.worker().socket_shortages.Value(), 0u);
}

// Six clients and the connection that they share leave one of 8 sockets, and admitted clients may
// use 2 more.
TEST(LateConnectionsTest, ClientsThatNeedDedicatedConnectionsWaitUntilOthersLeave) {
  constexpr int kClients = 6;
  constexpr int kFit = 3;
  LocalServer local;
  Tunnel tunnel(For(kShared, {.descriptors = {.sockets = 8, .late_sockets = 2},
                              .limits = {.connect_timeout = absl::Seconds(20)}}));
  test::Serve(tunnel, ForwardingMode::kMessage, local);
  std::vector<Peer> clients;
  Peer shared;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(tunnel.Connect());
    ASSERT_TRUE(clients.back().Send(kShared.question));
    if (i == 0) shared = local.Accept();
    ExpectAnswered(shared, clients.back(), kShared.question);
  }
  std::vector<Peer> servers;
  for (int i = 0; i < kClients; ++i) {
    ASSERT_TRUE(clients[i].Send(kDedicated.question));
    if (i >= kFit) continue;
    servers.push_back(local.Accept());
    ExpectAnswered(servers[i], clients[i], kDedicated.question);
  }
  EXPECT_EQ(tunnel.worker().direct_connections.Value(), kFit);
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().socket_shortages.Value() >= kManyTries; }));
  EXPECT_FALSE(local.Knocked(0));
  // Each client that leaves makes room for two.
  clients[0].Reset();
  for (int i = kFit; i < kClients; ++i) {
    if (i == kFit + 2) clients[1].Reset();
    servers.push_back(local.Accept());
    ASSERT_TRUE(servers[i]);
    EXPECT_EQ(servers[i].Read(kDedicated.question.size()), kDedicated.question);
  }
  EXPECT_EQ(tunnel.worker().no_socket.Value(), 0u);
}

// Thousands of connected but silent devices would otherwise each reserve two descriptors, although
// no request of their protocol can ask for a dedicated connection.
TEST(LateConnectionsTest, SilentClientOfASharingProtocolTakesOneDescriptor) {
  constexpr int kClients = 8;
  LocalServer local;
  Tunnel tunnel(
      InMode(ForwardingMode::kMessage, {.descriptors = {.sockets = kClients, .late_sockets = 2}}));
  test::Serve(tunnel, ForwardingMode::kMessage, local);
  std::vector<Peer> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(tunnel.Connect());
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == kClients; }));
  Peer waiting = tunnel.Connect();
  ASSERT_TRUE(Eventually([&] { return tunnel.listener().pauses.Value() > 2; }));
  EXPECT_EQ(tunnel.clients(), kClients);
  Peer shared;
  for (Peer& client : clients) {
    ASSERT_TRUE(client.Send("hello\n"));
    if (!shared) shared = local.Accept();
    ExpectAnswered(shared, client, "hello\n");
  }
}

}  // namespace
}  // namespace trunkline
