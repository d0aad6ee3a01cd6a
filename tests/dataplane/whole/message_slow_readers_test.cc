// Clients of message mode that take large replies more slowly than the server sends them. A client
// that reads gets its whole reply even if others wait behind it; one that has stalled is reset when
// another client needs its connection.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
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

// Exceeds what the kernel buffers for one connection.
constexpr size_t kHuge = 32 * 1024 * 1024;
constexpr int kSmallReceiveBuffer = 4096;
constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// Sends `bytes` until backpressure stops it. Returns the number of bytes sent.
size_t SendUntilStuck(Peer& peer, const std::string& bytes) {
  size_t sent = 0;
  for (int stuck = 0; stuck < 100 && sent < bytes.size();) {
    const size_t n = peer.SendWhatFits(bytes.substr(sent, 1 << 20));
    sent += n;
    stuck = n > 0 ? 0 : stuck + 1;
    if (n == 0) test::WaitFor(peer.fd(), POLLOUT, 2);
  }
  return sent;
}

std::string Bulk(size_t size) {
  return absl::StrCat("$", size, "\r\n", std::string(size, 'r'), "\r\n");
}

std::string HttpReply(const std::string& body) {
  return absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
}

// Reads everything from now on.
void Hurry(Peer& peer) {
  const int buffer = 4 * 1024 * 1024;
  setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

// A client that takes a reply in small pieces, and its server's end.
struct Download {
  void Step(size_t most_read) {
    if (sent < reply.size()) sent += server.SendWhatFits(reply.substr(sent, 1 << 20));
    got += client.Read(std::min(most_read, client.UnreadBytes()));
  }
  bool done() const { return got.size() == reply.size(); }

  Peer client;
  Peer server;
  std::string reply;
  size_t sent = 0;
  std::string got = {};
};

class SlowReadersTest : public test::ExchangeTest {
 protected:
  // Bytes that a slow client reads at a time.
  static constexpr size_t kSlowly = 16 * 1024;

  Peer ConnectSlow() { return Connect(kSmallReceiveBuffer); }
  Download Begin(const std::string& request, std::string reply) {
    Peer client = ConnectSlow();
    Peer server = AcceptFor(client, request);
    return {std::move(client), std::move(server), std::move(reply)};
  }
  int64_t buffered() { return exchange_->worker().to_client_buffered_bytes.Value(); }
  uint64_t resets() { return exchange_->worker().slow_readers.Value(); }
  // The client reads a little now and then until `condition` holds.
  template <typename Condition>
  [[nodiscard]] bool ReadSlowlyUntil(Download& download, Condition condition) {
    return Eventually([&] {
      download.Step(kSlowly);
      return condition();
    });
  }
  void ExpectRest(Download& download) {
    Hurry(download.client);
    EXPECT_TRUE(Eventually([&] {
      download.Step(kHuge);
      return download.done();
    })) << "the reply ended after "
        << download.got.size() << " bytes";
    EXPECT_TRUE(download.got == download.reply);
    EXPECT_EQ(resets(), 0u);
  }
};

TEST_F(SlowReadersTest, ReaderAloneOnItsConnectionCausesBackpressure) {
  Start({.codec = test::Redis()});
  Download slow = Begin("GET a\r\n", Bulk(kHuge));
  slow.sent = SendUntilStuck(slow.server, slow.reply);
  EXPECT_LT(slow.sent, kHuge) << "the proxy took it all, although the client does not read";
  EXPECT_TRUE(Eventually([&] { return buffered() > 0; }));
  ExpectRest(slow);
  EXPECT_TRUE(Eventually([&] { return buffered() == 0; }));
  ExpectExchange(slow.client, slow.server, "GET c\r\n", ":2\r\n");
}

TEST_F(SlowReadersTest, ReaderWithOthersBehindItGetsItsWholeReplyAndHoldsUpNone) {
  Start({.codec = test::Redis()});
  Download slow = Begin("GET a\r\n", Bulk(kHuge));
  std::vector<Peer> others;
  for (int i = 0; i < 8; ++i) {
    others.push_back(Connect());
    ExpectCarried(others.back(), slow.server, "PING\r\n");
  }
  ASSERT_TRUE(ReadSlowlyUntil(slow, [&] { return slow.sent == slow.reply.size(); }));
  for (Peer& other : others) ExpectCarried(slow.server, other, "+PONG\r\n");
  EXPECT_FALSE(slow.done());
  EXPECT_GT(buffered(), 0) << "the gauge shows what the memory budget has to bear";
  ExpectRest(slow);
  EXPECT_TRUE(Eventually([&] { return buffered() == 0; }));
  ExpectExchange(slow.client, slow.server, "GET c\r\n", ":2\r\n");
}

TEST_F(SlowReadersTest, RequestsAvoidAConnectionThatALargeReplyHoldsUp) {
  Start({.codec = test::Redis(), .shared_connections = 2});
  // The reply goes on when the others ask.
  Download slow = Begin("GET a\r\n", Bulk(8 * kHuge));
  Peer behind = Connect();
  ExpectCarried(behind, slow.server, "GET b\r\n");
  ASSERT_TRUE(ReadSlowlyUntil(slow, [&] { return buffered() > 2 * 1024 * 1024; }));
  Peer quick = Connect();
  Peer second = AcceptFor(quick, "GET c\r\n");
  ExpectCarried(second, quick, ":3\r\n");
  ExpectRest(slow);
  ExpectCarried(slow.server, behind, ":2\r\n");
}

// The reader is alone on the connection, but another client needs one.
TEST_F(SlowReadersTest, ReaderDoesNotBlockTheOnlyConnection) {
  Start({.codec = test::Redis()});
  Download slow = Begin("GET a\r\n", Bulk(kHuge));
  slow.sent = SendUntilStuck(slow.server, slow.reply);
  ASSERT_LT(slow.sent, kHuge);
  Peer other = Connect();
  ASSERT_TRUE(other.Send("GET b\r\n"));
  ASSERT_TRUE(ReadSlowlyUntil(slow, [&] { return slow.sent == slow.reply.size(); }));
  ASSERT_EQ(slow.server.Read(7), "GET b\r\n");
  ExpectCarried(slow.server, other, ":1\r\n");
  ExpectRest(slow);
}

TEST_F(SlowReadersTest, DownloadsThatFillThePoolCompleteWhileARequestWaits) {
  Start({.codec = test::Http(), .shared_connections = 2});
  const std::string reply = HttpReply(std::string(kHuge, 'd'));
  Download first = Begin(kGet, reply);
  Download second = Begin(kGet, reply);
  Peer waits = Connect();
  ASSERT_TRUE(waits.Send(kGet));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 3; }));
  int64_t most_buffered = 0;
  EXPECT_TRUE(ReadSlowlyUntil(first, [&] {
    second.Step(kSlowly);
    most_buffered = std::max(most_buffered, buffered());
    return first.got.size() > kHuge / 8 && second.got.size() > kHuge / 8;
  }));
  EXPECT_LT(most_buffered, 1024 * 1024) << "no reply waits behind, so the servers have to wait";
  ExpectRest(first);
  ASSERT_EQ(first.server.Read(sizeof kGet - 1), kGet) << "the freed connection takes the request";
  ExpectCarried(first.server, waits, HttpReply("small"));
  ExpectRest(second);
}

// It reads nothing for three seconds.
TEST_F(SlowReadersTest, StalledReaderIsResetWhenAnotherClientNeedsItsConnection) {
  Start({.codec = test::Http(), .shared_connections = 1});
  Peer stalled = ConnectSlow();
  Peer server = AcceptFor(stalled, kGet);
  SendUntilStuck(server, HttpReply(std::string(kHuge, 'd')));
  Peer waits = Connect();
  Peer second = AcceptFor(waits, kGet);
  ExpectCarried(second, waits, HttpReply("small"));
  EXPECT_EQ(resets(), 1u);
  EXPECT_LT(stalled.ReadToEnd().size(), kHuge);
  EXPECT_EQ(stalled.ending(), Ending::kReset);
}

TEST_F(SlowReadersTest, StalledReaderIsResetAfterTheIdleTimeout) {
  Exchange::Options options = {.codec = test::Redis()};
  options.limits.idle_timeout = absl::Milliseconds(300);
  Start(options);
  Peer stalled = ConnectSlow();
  Peer server = AcceptFor(stalled, "GET a\r\n");
  SendUntilStuck(server, Bulk(kHuge));
  EXPECT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  EXPECT_EQ(exchange_->worker().timeouts.Value(), 1u);
  EXPECT_LT(stalled.ReadToEnd().size(), kHuge);
}

// With ids, other clients may join the connection; it must be read again after the slow reader's
// last reply.
TEST_F(SlowReadersTest, ReaderOfRepliesWithIdsLeavesTheConnectionUsable) {
  Start({.codec = test::FramesWithId()});
  Peer slow = ConnectSlow();
  std::string requests;
  for (uint16_t id = 0; id < 60; ++id) requests += test::FrameWithId(id, "give");
  ASSERT_TRUE(slow.Send(requests));
  Peer server = local_.Accept();
  std::string replies;
  for (int i = 0; i < 60; ++i) {
    const std::string request = server.Read(8);
    replies += test::FrameWithId(test::IdOf(request), std::string(60'000, 'r'));
  }
  size_t sent = SendUntilStuck(server, replies);
  Hurry(slow);
  std::string got;
  while (got.size() < replies.size()) {
    if (sent < replies.size()) sent += server.SendWhatFits(replies.substr(sent));
    const std::string more = slow.Read(std::max<size_t>(1, slow.UnreadBytes()));
    ASSERT_FALSE(more.empty()) << got.size();
    got += more;
  }
  Peer other = Connect();
  ASSERT_TRUE(other.Send(test::FrameWithId(1, "give")));
  const std::string request = server.Read(8);
  ASSERT_TRUE(server.Send(test::FrameWithId(test::IdOf(request), "here")));
  EXPECT_EQ(other.Read(8), test::FrameWithId(1, "here"));
}

}  // namespace
}  // namespace trunkline
