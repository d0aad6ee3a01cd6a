// Bounds of message mode: requests per connection, connections per server, the pending queue and
// its timeout.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::Exchange;
using test::ExpectCarried;
using test::ExpectExchange;
using test::Peer;

class BoundsTest : public test::ExchangeTest {
 protected:
  // Exchanges one line with each client, over any number of connections.
  void ServeLines(std::vector<Peer>& clients, size_t most_connections) {
    std::vector<Peer> servers;
    std::vector<std::string> unfinished(most_connections);
    size_t answered = 0;
    const auto serve = [&] {
      if (local_.Knocked(0)) servers.push_back(local_.Accept());
      EXPECT_LE(servers.size(), most_connections);
      for (Peer& server : servers) {
        while (test::WaitFor(server.fd(), POLLIN, 0)) {
          const std::string line = server.Read(4);
          if (line.size() < 4) break;
          EXPECT_TRUE(server.Send(line));
          ++answered;
        }
      }
      return answered == clients.size();
    };
    EXPECT_TRUE(Eventually(serve)) << answered << " of " << clients.size() << " were served";
    for (Peer& client : clients) EXPECT_EQ(client.Read(4), "ask\n");
  }
};

TEST_F(BoundsTest, RequestsInFlightAreBounded) {
  Start({.max_in_flight = 3});
  std::vector<Peer> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(Connect());
    ASSERT_TRUE(clients.back().Send(absl::StrCat(i, "\n")));
  }
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(6), "0\n1\n2\n");
  EXPECT_FALSE(test::WaitFor(server.fd(), POLLIN, 60));
  ASSERT_TRUE(server.Send("A\n"));
  EXPECT_EQ(server.Read(2), "3\n");
  EXPECT_FALSE(test::WaitFor(server.fd(), POLLIN, 60));
  ASSERT_TRUE(server.Send("B\nC\n"));
  EXPECT_EQ(server.Read(2), "4\n");
  ASSERT_TRUE(server.Send("D\nE\n"));
  const std::string letters = "ABCDE";
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(clients[i].Read(2), letters.substr(i, 1) + "\n");
}

TEST_F(BoundsTest, ClientsOfABusyServerShareAFewConnections) {
  Start({.shared_connections = 3});
  std::vector<Peer> clients = ConnectAll(200, "ask\n");
  ServeLines(clients, /*most_connections=*/3);
  EXPECT_LE(exchange_->worker().shared_connections.Value(), 3);
}

TEST_F(BoundsTest, OneQuietClientNeedsOneConnection) {
  Start({.shared_connections = 4});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  ExpectCarried(server, client, "A\n");
  for (int i = 0; i < 50; ++i) ExpectExchange(client, server, "x\n", "y\n");
  EXPECT_FALSE(local_.Knocked(0));
}

TEST_F(BoundsTest, IdleConnectionIsClosed) {
  Start({.shared_idle_timeout = absl::Milliseconds(100)});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  ASSERT_TRUE(server.Send("A\n"));
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(server.ending(), Ending::kFin);
  EXPECT_EQ(client.Read(2), "A\n");
  EXPECT_TRUE(Eventually([&] { return exchange_->connections(0) == 0; }));
}

TEST_F(BoundsTest, ServerWithOneConnectionServesClientsOfAllWorkers) {
  for (const uint32_t most : {1u, 2u, 5u}) {
    SCOPED_TRACE(testing::Message() << "max_connections " << most);
    Start({.workers = 3, .shared_connections = 4, .max_connections = most});
    // Enough clients for the kernel to give some to each worker.
    std::vector<Peer> clients = ConnectAll(60, "ask\n");
    ServeLines(clients, most);
    EXPECT_LE(exchange_->connections(0), most);
    uint64_t refused = 0;
    for (size_t i = 0; i < 3; ++i) refused += exchange_->worker(i).no_endpoint.Value();
    EXPECT_EQ(refused, 0u);
  }
}

TEST_F(BoundsTest, PendingQueueIsServedInOrder) {
  Start({.max_in_flight = 1});
  std::vector<Peer> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Connect());
    ASSERT_TRUE(clients.back().Send(absl::StrCat(i, "\n")));
    ASSERT_TRUE(Eventually([&] { return exchange_->clients() == i + 1; }));
  }
  Peer server = local_.Accept();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(server.Read(2), absl::StrCat(i, "\n"));
    ASSERT_TRUE(server.Send("A\n"));
    EXPECT_EQ(clients[i].Read(2), "A\n");
  }
}

TEST_F(BoundsTest, ClientWithoutRoomIsClosedAfterTheConnectTimeout) {
  Exchange::Options options = {.codec = test::Redis(), .max_in_flight = 1};
  options.limits.connect_timeout = absl::Milliseconds(200);
  Start(options);
  Peer lucky = Connect();
  Peer server = AcceptFor(lucky, "GET a\r\n");
  Peer waits = Connect();
  ASSERT_TRUE(waits.Send("GET b\r\n"));
  EXPECT_EQ(waits.ReadToEnd(), "-ERR no server is available\r\n");
  EXPECT_EQ(waits.ending(), Ending::kFin);
  ExpectCarried(server, lucky, "$-1\r\n");
}

TEST_F(BoundsTest, RequestOfAClientThatLeavesThePendingQueueIsNotSent) {
  Start({.max_in_flight = 1});
  Peer first = Connect();
  Peer server = AcceptFor(first, "1\n");
  Peer leaver = Connect();
  ASSERT_TRUE(leaver.Send("2\n"));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 2; }));
  Peer third = Connect();
  ASSERT_TRUE(third.Send("3\n"));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 3; }));
  leaver.Reset();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 2; }));
  ASSERT_TRUE(server.Send("A\n"));
  EXPECT_EQ(server.Read(2), "3\n");
}

TEST_F(BoundsTest, DedicatedConnectionReplacesAnIdleSharedOneAndReturnsItsPlace) {
  Start({.codec = test::Redis(), .max_connections = 1});
  Peer sharing = Connect();
  Peer server = AcceptFor(sharing, "GET a\r\n");
  // The only place is busy, so the flow waits.
  Peer alone = Connect();
  ASSERT_TRUE(alone.Send("SUBSCRIBE news\r\n"));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 2; }));
  ExpectCarried(server, sharing, "$-1\r\n");
  Peer own = local_.Accept();
  ASSERT_EQ(own.Read(16), "SUBSCRIBE news\r\n");
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(exchange_->connections(0), 1u);
  // And the other way round.
  ASSERT_TRUE(sharing.Send("GET b\r\n"));
  EXPECT_FALSE(local_.Knocked(60));
  alone.Close();
  EXPECT_EQ(own.ReadToEnd(), "");
  own.Close();
  Peer again = local_.Accept();
  EXPECT_EQ(again.Read(7), "GET b\r\n");
}

TEST_F(BoundsTest, SilentClientIsResetAfterTheFirstByteTimeout) {
  Exchange::Options options;
  options.limits.first_byte_timeout = absl::Milliseconds(150);
  Start(options);
  Peer client = Connect();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return exchange_->worker().timeouts.Value() == 1; }));
}

TEST_F(BoundsTest, ServerThatDoesNotReadCausesBackpressureNotMemoryUse) {
  Start({.codec = test::Frames(65'000)});
  const std::string large = std::string("\xf0\x00", 2) + std::string(0xf000, 'x');
  std::vector<Peer> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(Connect());
    clients.back().SendWhatFits(large);
  }
  Peer server = local_.Accept();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 100; }));
  // Once the server reads, every client gets its reply.
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(server.Read(large.size()).size(), large.size()) << i;
    ASSERT_TRUE(server.Send(std::string("\0\2ok", 4)));
  }
  for (Peer& client : clients) EXPECT_EQ(client.Read(4), std::string("\0\2ok", 4));
}

}  // namespace
}  // namespace trunkline
