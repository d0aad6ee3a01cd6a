// Requests are balanced, not clients: the next request of a long-lived client follows new weights
// and endpoints, as a new connection would.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::ExpectCarried;
using test::LocalServer;
using test::Peer;

constexpr char kAsk[] = "ask\n";
constexpr char kSay[] = "say\n";

// Three servers; the service begins with the first two.
class KeptClientsTest : public test::ExchangeTest, public ::testing::WithParamInterface<size_t> {
 protected:
  static constexpr size_t kClients = 20;
  // Clients, and requests of each at each set of weights; together 600 draws.
  static constexpr int kRounds = 30;
  using Shares = std::vector<double>;

  KeptClientsTest() : peers_(std::size(servers_)) {
    StartWith({servers_[0].address(), servers_[1].address()}, {.workers = GetParam()});
  }

  void Weigh(const std::vector<double>& weights) {
    for (size_t i = 0; i < weights.size(); ++i) exchange_->SetWeight(i, weights[i]);
    exchange_->Apply();
  }

  // Returns the server that has read the request that a client has just sent.
  size_t ServerOfNext() {
    while (true) {
      std::vector<pollfd> all;
      std::vector<std::pair<size_t, Peer*>> owners;  // of each; without a peer: a listener
      for (size_t i = 0; i < std::size(servers_); ++i) {
        all.push_back({.fd = servers_[i].fd(), .events = POLLIN});
        owners.emplace_back(i, nullptr);
        for (Peer& peer : peers_[i]) {
          all.push_back({.fd = peer.fd(), .events = POLLIN});
          owners.emplace_back(i, &peer);
        }
      }
      if (poll(all.data(), all.size(), test::kPatienceMillis) <= 0) return kNoServer;
      const auto ready = std::find_if(all.begin(), all.end(),
                                      [](const pollfd& each) { return each.revents != 0; });
      const auto [server, peer] = owners[static_cast<size_t>(ready - all.begin())];
      if (peer == nullptr) {
        peers_[server].push_back(servers_[server].Accept());
      } else if (peer->Read(sizeof kAsk - 1) == kAsk) {
        asked_ = peer;
        return server;
      } else {  // the proxy no longer needs it
        peers_[server].erase(peers_[server].begin() + (peer - peers_[server].data()));
      }
    }
  }
  // Sends one request of `client`. Returns the server that got it.
  size_t Ask(Peer& client) {
    EXPECT_TRUE(client.Send(kAsk));
    const size_t server = ServerOfNext();
    if (server != kNoServer) ExpectCarried(*asked_, client, kSay);
    return server;
  }
  // Returns each server's share of the requests of all clients.
  Shares AskRounds(std::vector<Peer>& clients) {
    Shares shares(std::size(servers_) + 1);
    for (int round = 0; round < kRounds; ++round) {
      for (Peer& client : clients) {
        shares[std::min(Ask(client), std::size(servers_))] += 1.0 / (kRounds * kClients);
        if (HasFailure()) return shares;
      }
    }
    return shares;
  }
  std::vector<Peer> ConnectKept() {
    std::vector<Peer> clients;
    for (size_t i = 0; i < kClients; ++i) clients.push_back(Connect());
    return clients;
  }
  // Five standard deviations of a share of one half of 600 draws are 0.1.
  static void ExpectNear(const Shares& shares, const Shares& wanted) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      const bool exact = wanted[i] == 0 || wanted[i] == 1;
      EXPECT_NEAR(shares[i], wanted[i], exact ? 1e-9 : 0.1) << "server " << i;
    }
  }

  static constexpr size_t kNoServer = SIZE_MAX;
  LocalServer servers_[3];
  std::vector<std::vector<Peer>> peers_;
  Peer* asked_ = nullptr;  // the server's end that got the last request
};

TEST_P(KeptClientsTest, FollowNewWeightsWithTheirNextRequest) {
  std::vector<Peer> clients = ConnectKept();
  for (const Shares& weights : std::vector<Shares>{{1, 0}, {1, 1}, {1, 3}, {0, 1}, {3, 1}}) {
    SCOPED_TRACE(testing::Message() << "weights " << weights[0] << " : " << weights[1]);
    Weigh(weights);
    const double sum = weights[0] + weights[1];
    ExpectNear(AskRounds(clients), {weights[0] / sum, weights[1] / sum, 0, 0});
  }
  EXPECT_EQ(exchange_->clients(), static_cast<int64_t>(kClients));
}

TEST_P(KeptClientsTest, UseANewEndpointAndNoRemovedOne) {
  std::vector<Peer> clients = ConnectKept();
  ExpectNear(AskRounds(clients), {0.5, 0.5, 0, 0});
  exchange_->AddServer(servers_[2].address(), /*weight=*/2);
  exchange_->Apply();
  ExpectNear(AskRounds(clients), {0.25, 0.25, 0.5, 0});
  exchange_->Remove(0);
  exchange_->Apply();
  ExpectNear(AskRounds(clients), {0, 1.0 / 3, 2.0 / 3, 0});
}

// The replies would lose their order if the next request went to another server at once.
TEST_P(KeptClientsTest, LeaveAnEndpointOfWeightZeroAfterTheirReplies) {
  Weigh({1, 0});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(kAsk));
  ASSERT_EQ(ServerOfNext(), 0u);
  Peer& first = *asked_;
  Weigh({0, 1});
  ASSERT_TRUE(client.Send(kAsk));
  EXPECT_FALSE(test::WaitFor(first.fd(), POLLIN, 60))
      << "the request must not go to the drained endpoint";
  EXPECT_FALSE(servers_[1].Knocked(0)) << "its reply could overtake the first";
  ExpectCarried(first, client, kSay);
  EXPECT_EQ(ServerOfNext(), 1u);
  ExpectCarried(*asked_, client, kSay);
}

// Cursors of one server mean nothing to another, so an iteration must not be balanced.
class IterationTest : public test::ExchangeTest {};

TEST_F(IterationTest, ReachesTheServerThatReturnedItsCursor) {
  LocalServer other;
  StartWith({local_.address(), other.address()}, {.codec = test::Redis()});
  for (int client = 0; client < 10; ++client) {
    Peer iterating = Connect();
    ASSERT_TRUE(iterating.Send("SCAN 0\r\n"));
    pollfd both[] = {{.fd = local_.fd(), .events = POLLIN}, {.fd = other.fd(), .events = POLLIN}};
    ASSERT_GT(poll(both, std::size(both), test::kPatienceMillis), 0);
    Peer server = both[0].revents != 0 ? local_.Accept() : other.Accept();
    EXPECT_EQ(server.Read(8), "SCAN 0\r\n");
    for (int i = 1; i < 10; ++i) {
      ExpectCarried(server, iterating, "*2\r\n$1\r\n7\r\n*0\r\n");
      ExpectCarried(iterating, server, "SCAN 7\r\n");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, KeptClientsTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace trunkline
