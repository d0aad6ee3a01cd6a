// Messages without replies (`one_way`): each is balanced by itself, arrives once, and waits while
// servers do not take it. A dying server loses only what its socket had taken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
using test::LocalServer;
using test::OneWayLines;
using test::Peer;
using ::testing::UnorderedElementsAreArray;

constexpr size_t kLineBytes = 1000;

// Lines of `bytes` bytes that begin with their number.
std::string Line(size_t number, size_t bytes = kLineBytes) {
  std::string line = absl::StrCat("message ", number, " ");
  line.resize(bytes - 1, 'x');
  return line + "\n";
}

std::string LinesFrom(size_t first, size_t end, size_t bytes = kLineBytes) {
  std::string all;
  for (size_t i = first; i < end; ++i) all += Line(i, bytes);
  return all;
}

class OneWayTest : public test::ExchangeTest {
 protected:
  void StartOneWay(Exchange::Options options = {}) {
    options.codec = OneWayLines();
    Start(std::move(options));
  }
  // A second server beside `local_`, which gets no messages yet.
  void StartWithAReserve(const LocalServer& other, Exchange::Options options = {}) {
    options.codec = OneWayLines();
    StartWith({local_.address(), other.address()}, std::move(options));
    SetWeights(1, 0);
  }
  void SetWeights(double first, double second) {
    exchange_->SetWeight(0, first);
    exchange_->SetWeight(1, second);
    exchange_->Apply();
  }
  // Sends lines until the proxy takes no more, because its server reads nothing. Returns how many
  // the client has sent, the last one perhaps in part; `rest` is the rest of that one.
  static size_t SendUntilFull(Peer& client, std::string& rest) {
    size_t lines = 0;
    while (test::WaitFor(client.fd(), POLLOUT, 200)) {
      if (rest.empty()) rest = Line(lines++);
      rest.erase(0, client.SendWhatFits(rest));
      if (lines > 200'000) {
        ADD_FAILURE() << "the proxy reads without end";
        break;
      }
    }
    return lines;
  }
};

TEST_F(OneWayTest, EachMessageOfAClientIsBalancedByItself) {
  LocalServer other;
  StartWith({local_.address(), other.address()}, {.codec = OneWayLines()});
  constexpr size_t kLines = 1000;
  constexpr size_t kBytes = 30;
  Peer client = Connect();
  ASSERT_TRUE(client.Send(LinesFrom(0, kLines, kBytes)));
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
  exchange_->Stop();
  std::vector<std::string> seen;
  for (const LocalServer* server : {&local_, &other}) {
    Peer peer = server->Accept();
    const std::string bytes = peer.ReadToEnd();
    // Two choices by load and weight; 300 of 1000 is 12 standard deviations below a half.
    EXPECT_GT(bytes.size(), 300 * kBytes);
    std::vector<std::string> lines = absl::StrSplit(bytes, '\n', absl::SkipEmpty());
    seen.insert(seen.end(), lines.begin(), lines.end());
  }
  std::vector<std::string> sent =
      absl::StrSplit(LinesFrom(0, kLines, kBytes), '\n', absl::SkipEmpty());
  EXPECT_THAT(seen, UnorderedElementsAreArray(sent)) << "each arrives once";
}

TEST_F(OneWayTest, MessagesOfManyClientsLeaveTogether) {
  StartOneWay();
  std::vector<Peer> clients = ConnectAll(100, "event\n");
  Peer server = local_.Accept();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(server.Read(6), "event\n");
  EXPECT_FALSE(local_.Knocked(0)) << "clients share a connection";
  EXPECT_EQ(exchange_->cell(0).one_way.Value(), 100u);
  EXPECT_EQ(shared().replies.Value(), 0u);
}

TEST_F(OneWayTest, PieceWithoutAnEndIsNotSent) {
  StartOneWay();
  Peer client = Connect();
  ASSERT_TRUE(client.Send("one\ntwo"));
  Peer server = local_.Accept();
  EXPECT_EQ(server.Read(4), "one\n");
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(server.UnreadBytes(), 0u);
}

TEST_F(OneWayTest, ClientIsNotReadWhileItsMessagesCannotBeWritten) {
  StartOneWay({.reply_timeout = absl::Seconds(300)});
  Peer client = Connect();
  std::string rest;
  const size_t lines = SendUntilFull(client, rest);
  Peer server = local_.Accept();
  EXPECT_LT(exchange_->worker().from_client_buffered_bytes.Value(), 256 * 1024);
  EXPECT_EQ(exchange_->clients(), 1);
  // Once it reads, everything arrives in order.
  std::string seen;
  const auto read = [&] {
    rest.erase(0, client.SendWhatFits(rest));
    seen += server.Read(std::min(server.UnreadBytes(), lines * kLineBytes - seen.size()));
    return seen.size() == lines * kLineBytes;
  };
  ASSERT_TRUE(Eventually(read)) << seen.size() << " of " << lines * kLineBytes;
  EXPECT_EQ(seen, LinesFrom(0, lines));
}

TEST_F(OneWayTest, DyingServerLosesOnlyWhatItsSocketHadTaken) {
  LocalServer other;
  StartWithAReserve(other, {.reply_timeout = absl::Seconds(300)});
  Peer client = Connect();
  std::string rest;
  const size_t lines = SendUntilFull(client, rest);
  Peer server = local_.Accept();
  const uint64_t written = shared().bytes_written.Value();
  const size_t lost = (written + kLineBytes - 1) / kLineBytes;
  ASSERT_GT(lines, lost) << "some are not written";
  SetWeights(0, 1);
  server.Reset();
  Peer second = other.Accept();
  std::string seen;
  const size_t expected = (lines - lost) * kLineBytes;
  const auto read = [&] {
    rest.erase(0, client.SendWhatFits(rest));
    seen += second.Read(std::min(second.UnreadBytes(), expected - seen.size()));
    return seen.size() == expected;
  };
  ASSERT_TRUE(Eventually(read)) << seen.size() << " of " << expected;
  EXPECT_EQ(seen, LinesFrom(lost, lines)) << "each of the others arrives once";
  EXPECT_EQ(exchange_->clients(), 1) << "the client is not closed";
}

TEST_F(OneWayTest, ServerThatTakesNothingForAReplyTimeoutIsLeft) {
  LocalServer other;
  StartWithAReserve(other, {.reply_timeout = absl::Milliseconds(500)});
  Peer client = Connect();
  std::string rest;
  SendUntilFull(client, rest);
  SetWeights(0, 1);
  Peer second = other.Accept();
  ASSERT_TRUE(second);
  EXPECT_EQ(second.Read(8), "message ");
  EXPECT_GE(shared().reply_timeouts.Value(), 1u);
}

TEST_F(OneWayTest, MessageWaitsForARestartedServerLongerThanAConnect) {
  local_.StopListening();
  Exchange::Options options;
  options.limits.connect_timeout = absl::Milliseconds(50);
  StartOneWay(options);
  Peer client = Connect();
  ASSERT_TRUE(client.Send("patience\n"));
  client.ShutdownWrite();
  ASSERT_TRUE(Eventually([&] { return shared().resent.Value() > 0; }));
  EXPECT_FALSE(test::WaitFor(client.fd(), POLLIN, 200)) << "it was given up";
  LocalServer back(local_.address());
  Peer server = back.Accept();
  EXPECT_EQ(server.Read(9), "patience\n");
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

TEST_F(OneWayTest, ServerThatClosesBetweenMessagesCostsNothing) {
  StartOneWay();
  Peer client = Connect();
  for (int i = 0; i < 20; ++i) {
    Peer server = AcceptFor(client, "event\n");
    server.Close();
    ASSERT_TRUE(Eventually([&] { return exchange_->worker().shared_connections.Value() == 0; }));
  }
  EXPECT_EQ(exchange_->clients(), 1);
}

TEST_F(OneWayTest, BytesOfAServerReachNoClientAndAreCounted) {
  StartOneWay();
  Peer client = Connect();
  Peer server = AcceptFor(client, "event\n");
  ASSERT_TRUE(server.Send("unasked\n"));
  ASSERT_TRUE(Eventually([&] { return shared().one_way_discarded_bytes.Value() == 8; }));
  ASSERT_TRUE(client.Send("another\n"));
  EXPECT_EQ(server.Read(8), "another\n") << "the connection goes on";
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
  EXPECT_EQ(shared().protocol_errors.Value(), 0u);
}

}  // namespace
}  // namespace trunkline
