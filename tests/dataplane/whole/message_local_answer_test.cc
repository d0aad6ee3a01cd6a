// Requests that the proxy answers itself, here those of Redis clients that introduce themselves or
// say goodbye: the answers keep their place among the replies, and no server is asked.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>

#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::ExpectCarried;
using test::Peer;

class LocalAnswerTest : public test::ExchangeTest {
 protected:
  void SetUp() override { Start({.codec = test::Redis()}); }
};

TEST_F(LocalAnswerTest, ComesInTheOrderOfRequests) {
  Peer client = Connect();
  Peer server = AcceptFor(client, "GET a\r\n");
  ASSERT_TRUE(client.Send("CLIENT SETNAME me\r\nCLIENT TRACKING OFF\r\nGET b\r\n"));
  ASSERT_TRUE(server.Send("$1\r\na\r\n"));
  EXPECT_EQ(client.Read(7), "$1\r\na\r\n");
  EXPECT_EQ(client.Read(10), "+OK\r\n+OK\r\n");
  ASSERT_EQ(server.Read(7), "GET b\r\n");
  ExpectCarried(server, client, "$1\r\nb\r\n");
  EXPECT_EQ(shared().requests.Value(), 2u);
}

TEST_F(LocalAnswerTest, ComesInPiecesOfARequestAsWell) {
  Peer client = Connect();
  for (const char byte : std::string("CLIENT SETINFO LIB-NAME a\r\nQUIT\r\n")) {
    ASSERT_TRUE(client.Send(std::string(1, byte)));
  }
  EXPECT_EQ(client.ReadToEnd(), "+OK\r\n+OK\r\n");
  EXPECT_EQ(client.ending(), test::Ending::kFin);
  EXPECT_FALSE(local_.Knocked(0));
}

// A client that asks without end and reads nothing is not read.
TEST_F(LocalAnswerTest, ClientThatDoesNotReadIsNotRead) {
  Peer client = Connect(/*receive_buffer=*/4096);
  constexpr size_t kMost = 64 * 1024 * 1024;  // far above what sockets take
  constexpr int kBlockedMillis = 500;
  const std::string command = "CLIENT TRACKING OFF\r\n";
  std::string flood;
  while (flood.size() < 100'000) flood += command;
  size_t sent = 0;
  while (sent < kMost && test::WaitFor(client.fd(), POLLOUT, kBlockedMillis)) {
    sent += client.SendWhatFits(flood.substr(sent % command.size()));
  }
  EXPECT_LT(sent, kMost);
}

}  // namespace
}  // namespace trunkline
