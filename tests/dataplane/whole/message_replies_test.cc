// Replies on shared connections reach the client that asked, in its order, whatever other clients
// of the connection do. A reply that matches no request reaches no client.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectCarried;
using test::ExpectExchange;
using test::FrameWithId;
using test::IdOf;
using test::ModbusMessage;
using test::Peer;

class RepliesTest : public test::ExchangeTest {
 protected:
  // Returns a connection that has already carried a request.
  Peer AcceptFirst(Peer& client) {
    Peer server = AcceptFor(client, "first\n");
    ExpectCarried(server, client, "reply\n");
    return server;
  }
};

TEST_F(RepliesTest, ManyClientsShareOneConnection) {
  Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(Connect());
  Peer server = AcceptFirst(clients[0]);
  for (Peer& client : clients) ExpectExchange(client, server, "ask\n", "say\n");
  EXPECT_FALSE(local_.Knocked(0));
  EXPECT_EQ(exchange_->connections(0), 1u);
  EXPECT_EQ(shared().requests.Value(), 51u);
  EXPECT_EQ(shared().replies.Value(), 51u);
}

TEST_F(RepliesTest, EachClientGetsItsOwnRepliesInOrder) {
  Start();
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFirst(a);
  ExpectCarried(a, server, "a1\na2\n");
  ExpectCarried(b, server, "b1\n");
  ExpectCarried(a, server, "a3\n");
  ASSERT_TRUE(server.Send("A1\nA2\nB1\nA3\n"));
  EXPECT_EQ(a.Read(9), "A1\nA2\nA3\n");
  EXPECT_EQ(b.Read(3), "B1\n");
}

TEST_F(RepliesTest, ReplyIsStreamedToItsClient) {
  Start();
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFirst(a);
  ExpectCarried(a, server, "a\n");
  ExpectCarried(b, server, "b\n");
  ExpectCarried(server, a, "half of");
  ASSERT_TRUE(server.Send(" it\nand"));
  EXPECT_EQ(a.Read(4), " it\n");
  EXPECT_EQ(b.Read(3), "and");
  ExpectCarried(server, b, " other\n");
}

TEST_F(RepliesTest, RequestIsSentOnceItIsComplete) {
  Start();
  Peer slow = Connect();
  Peer quick = Connect();
  Peer server = AcceptFirst(quick);
  for (const char piece : std::string("slowly")) {
    ASSERT_TRUE(slow.Send(std::string(1, piece)));
    // Another client is served meanwhile, and no byte of this request is sent.
    ExpectExchange(quick, server, "quick\n", "done\n");
  }
  ASSERT_TRUE(slow.Send("\n"));
  EXPECT_EQ(server.Read(7), "slowly\n");
  ExpectCarried(server, slow, "at last\n");
}

TEST_F(RepliesTest, PipelineAboveTheInFlightLimitIsAnsweredInOrder) {
  Start();
  Peer client = Connect();
  Peer server = AcceptFirst(client);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += absl::StrCat(i, "\n");
  ASSERT_TRUE(client.Send(requests));
  // The server echoes; further requests follow as replies arrive.
  std::string answered;
  while (answered.size() < requests.size()) {
    const std::string piece = server.Read(1);
    ASSERT_FALSE(piece.empty());
    const std::string more = piece + server.Read(server.UnreadBytes());
    ASSERT_TRUE(server.Send(more));
    answered += more;
  }
  EXPECT_EQ(client.Read(requests.size()), requests);
}

TEST_F(RepliesTest, ClientThatPipelinesWithoutEndLeavesRoomForOthers) {
  Start({.max_in_flight = 256});
  Peer greedy = Connect();
  Peer modest = Connect();
  Peer server = AcceptFirst(modest);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += "g\n";
  ASSERT_TRUE(greedy.Send(requests));
  ASSERT_TRUE(Eventually([&] { return exchange_->cell(0).active.Value() == 64; }));
  ASSERT_TRUE(modest.Send("m\n"));
  std::string before;
  while (before.find('m') == std::string::npos) before += server.Read(2);
  EXPECT_EQ(before.size(), 2u * 65) << "at most 64 requests of one client are in flight";
}

TEST_F(RepliesTest, ReplyOfAClientThatLeftIsDiscardedAndTheNextGetsItsOwn) {
  Start();
  Peer leaver = Connect();
  Peer other = Connect();
  Peer server = AcceptFirst(other);
  ExpectCarried(leaver, server, "l1\nl2\n");
  ExpectCarried(other, server, "other\n");
  leaver.Reset();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 1; }));
  ASSERT_TRUE(server.Send("discarded 1\ndiscarded 2\nfor the other\n"));
  EXPECT_EQ(other.Read(14), "for the other\n");
  EXPECT_EQ(shared().replies_discarded.Value(), 2u);
  ExpectExchange(other, server, "again\n", "fine\n");
}

TEST_F(RepliesTest, ClientThatLeavesDuringItsReplyDoesNotAffectTheNext) {
  Start();
  Peer leaver = Connect();
  Peer other = Connect();
  Peer server = AcceptFirst(other);
  ExpectCarried(leaver, server, "l\n");
  ExpectCarried(other, server, "o\n");
  ExpectCarried(server, leaver, "begin");
  leaver.Reset();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 1; }));
  ASSERT_TRUE(server.Send(" and end\nmine\n"));
  EXPECT_EQ(other.Read(5), "mine\n");
}

TEST_F(RepliesTest, ClientThatLeftBeforeItsRequestWasSentIsForgotten) {
  Start();
  Peer leaver = Connect();
  ASSERT_TRUE(leaver.Send("never whole"));
  leaver.Reset();
  Peer client = Connect();
  Peer server = AcceptFirst(client);
  ExpectExchange(client, server, "x\n", "y\n");
}

TEST_F(RepliesTest, UnsolicitedBytesCloseTheConnectionAndReachNoClient) {
  Start();
  Peer client = Connect();
  Peer server = AcceptFirst(client);
  ASSERT_TRUE(server.Send("surprise\n"));
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(shared().protocol_errors.Value(), 1u);
  EXPECT_EQ(exchange_->cell(0).unasked.Value(), 1u) << "the counter names the endpoint";
  // The client does not notice; its next request uses another connection.
  Peer second = AcceptFor(client, "next\n");
  ExpectCarried(second, client, "good\n");
}

// Without the option, each answer would be the one to the question before.
TEST_F(RepliesTest, GreetingOfTheServerIsNoReply) {
  Start({.greeting = true});
  std::vector<Peer> clients;
  for (int i = 0; i < 2; ++i) clients.push_back(Connect());
  ASSERT_TRUE(clients[0].Send("first\n"));
  Peer server = local_.Accept();
  EXPECT_FALSE(test::WaitFor(server.fd(), POLLIN, 60)) << "a request before the greeting";
  ASSERT_TRUE(server.Send("220 ready\n"));
  EXPECT_EQ(server.Read(6), "first\n");
  ExpectCarried(server, clients[0], "reply\n");
  for (int question = 0; question < 5; ++question) {
    for (size_t i = 0; i < clients.size(); ++i) {
      ExpectExchange(clients[i], server, absl::StrCat("q", question, i, "\n"),
                     absl::StrCat("a", question, i, "\n"));
    }
  }
  EXPECT_FALSE(local_.Knocked(0));
}

TEST_F(RepliesTest, BytesBehindTheLastReplyReachNoClient) {
  Start();
  Peer client = Connect();
  Peer server = AcceptFirst(client);
  ExpectCarried(client, server, "ask\n");
  ASSERT_TRUE(server.Send("reply\nsurprise\n"));
  EXPECT_EQ(client.Read(6), "reply\n");
  EXPECT_EQ(server.ReadToEnd(), "");
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

TEST_F(RepliesTest, MalformedReplyFailsAllRequestsOnTheConnection) {
  Start({.codec = test::Redis()});
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFor(a, "GET a\r\n");
  ExpectCarried(b, server, "GET b\r\n");
  ASSERT_TRUE(server.Send("no reply of this protocol\r\n$1\r\nb\r\n"));
  EXPECT_EQ(a.ReadToEnd().find("no reply"), std::string::npos);
  const std::string lost = b.ReadToEnd();
  EXPECT_EQ(lost.find("-ERR"), 0u) << lost;
  EXPECT_EQ(lost.find("$1"), std::string::npos);
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(shared().protocol_errors.Value(), 1u);
}

TEST_F(RepliesTest, UnsolicitedPushReachesNoClient) {
  Start({.codec = test::Redis()});
  Peer client = Connect();
  Peer server = AcceptFor(client, "GET a\r\n");
  // In two pieces, so that the first is classified before the second arrives.
  ASSERT_TRUE(server.Send(">2\r\n+mes"));
  ASSERT_TRUE(Eventually([&] { return shared().bytes_read.Value() >= 8; }));
  server.Send("sage\r\n+x\r\n$1\r\na\r\n");
  const std::string got = client.ReadToEnd(/*millis=*/2000);
  EXPECT_EQ(got.find(">2"), std::string::npos) << got;
  EXPECT_EQ(got.find("sage"), std::string::npos) << got;
}

TEST_F(RepliesTest, ReplyTimeoutFailsAllRequestsOnTheConnection) {
  Start({.reply_timeout = absl::Milliseconds(200)});
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFirst(a);
  ASSERT_TRUE(a.Send("a\n"));
  ASSERT_TRUE(b.Send("b\n"));
  ASSERT_EQ(server.Read(4).size(), 4u);
  EXPECT_EQ(a.ReadToEnd(), "");
  EXPECT_EQ(b.ReadToEnd(), "");
  EXPECT_NE(a.ending(), Ending::kFin) << "a lost reply must not look like an empty one";
  EXPECT_NE(b.ending(), Ending::kFin);
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(shared().reply_timeouts.Value(), 1u);
  // The counter changes a moment after the client has seen the end.
  EXPECT_TRUE(test::Eventually([&] { return exchange_->worker().connection_lost.Value() == 2; }));
}

TEST_F(RepliesTest, EveryByteOfAReplyResetsItsTimeout) {
  Start({.reply_timeout = absl::Milliseconds(500)});
  Peer client = Connect();
  Peer server = AcceptFirst(client);
  ExpectCarried(client, server, "a\n");
  const MonotonicTime start = MonotonicNow();
  std::string sent;
  while (MonotonicNow() - start < absl::Milliseconds(1200)) {
    ASSERT_TRUE(server.Send("."));
    sent += ".";
    ASSERT_EQ(client.Read(1), ".");
    ASSERT_FALSE(test::WaitFor(server.fd(), POLLIN, 20)) << "it was closed";
  }
  ExpectCarried(server, client, "\n");
}

class LastReplyTest : public RepliesTest {
 protected:
  static constexpr char kAsk[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  // The request as the server gets it; the shared connection stays open.
  static constexpr char kAsked[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection:      \r\n\r\n";
  static std::string Reply(const std::string& field, const std::string& body) {
    return absl::StrCat("HTTP/1.1 200 OK\r\n", field, "Content-Length: ", body.size(), "\r\n\r\n",
                        body);
  }
  // Sends a client's last request until it is at the server.
  Peer AcceptLast(Peer& client) {
    EXPECT_TRUE(client.Send(kAsk));
    Peer server = local_.Accept();
    EXPECT_EQ(server.Read(sizeof kAsked - 1), kAsked);
    return server;
  }
  static void ExpectEnd(Peer& client, const std::string& words) {
    EXPECT_EQ(client.ReadToEnd(), words);
    EXPECT_EQ(client.ending(), Ending::kFin);
  }
};

TEST_F(LastReplyTest, CloseIsAnnouncedToTheClientButNotToTheServer) {
  Start({.codec = test::Http()});
  std::optional<Peer> server;
  for (int i = 0; i < 3; ++i) {
    Peer client = Connect();
    ASSERT_TRUE(client.Send(kAsk));
    if (!server) server = local_.Accept();
    ASSERT_EQ(server->Read(sizeof kAsked - 1), kAsked);
    ASSERT_TRUE(server->Send(Reply("Connection: keep-alive\r\n", "body")));
    ExpectEnd(client, Reply("Connection: close\r\n", "body"));
  }
  EXPECT_EQ(exchange_->connections(0), 1u);
}

// The reply takes more than one read, so the buffer is full when the field is inserted.
TEST_F(LastReplyTest, LargeReplyIsCompleteWithTheInsertedField) {
  Start({.codec = test::Http()});
  Peer client = Connect();
  Peer server = AcceptLast(client);
  std::string body;
  for (int i = 0; i < 100'000; ++i) body += absl::StrCat(i, "\n");
  ASSERT_TRUE(server.Send(Reply("", body)));
  ExpectEnd(client, Reply("Connection: close\r\n", body));
}

TEST_F(LastReplyTest, ReplyInSingleBytesCarriesClose) {
  Start({.codec = test::Http()});
  Peer client = Connect();
  Peer server = AcceptLast(client);
  for (const char byte : Reply("", "body")) {
    const uint64_t before = shared().bytes_read.Value();
    ASSERT_TRUE(server.Send(std::string(1, byte)));
    ASSERT_TRUE(Eventually([&] { return shared().bytes_read.Value() > before; }));
  }
  ExpectEnd(client, Reply("Connection: close\r\n", "body"));
}

TEST_F(LastReplyTest, ResentRequestIsStillTheLast) {
  Start({.codec = test::Http(), .idempotent = true});
  Peer client = Connect();
  Peer server = AcceptLast(client);
  server.Reset();
  Peer second = local_.Accept();
  ASSERT_EQ(second.Read(sizeof kAsked - 1), kAsked);
  ASSERT_TRUE(second.Send(Reply("", "body")));
  ExpectEnd(client, Reply("Connection: close\r\n", "body"));
}

// Bytes behind a close are no request (RFC 9112, 9.6) and must not turn the FIN into a reset.
TEST_F(LastReplyTest, RequestsBehindTheLastOneAreDropped) {
  Start({.codec = test::Http()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(absl::StrCat(kAsk, kAsk)));
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(sizeof kAsked - 1), kAsked);
  ASSERT_TRUE(server.Send(Reply("", "body")));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  // The second request would see a reset that the first one caused.
  ASSERT_TRUE(client.Send(kAsk));
  ASSERT_TRUE(client.Send(kAsk)) << "it was reset";
  ExpectEnd(client, Reply("Connection: close\r\n", "body"));
  EXPECT_EQ(shared().requests.Value(), 1u);
}

class IdRepliesTest : public RepliesTest {
 protected:
  std::string ReadFrame(Peer& peer) {
    std::string head = peer.Read(4);
    if (head.size() < 4) return head;
    return head + peer.Read(IdOf(head.substr(2)));
  }
  std::string ReadModbus(Peer& peer) {
    std::string head = peer.Read(6);
    if (head.size() < 6) return head;
    return head + peer.Read(IdOf(head.substr(4)));
  }
};

TEST_F(IdRepliesTest, RepliesComeInAnyOrderAndCarryTheClientsOwnId) {
  Start({.codec = test::Modbus()});
  Peer a = Connect();
  Peer b = Connect();
  // Both clients use the same transaction id, as independent clients may.
  ASSERT_TRUE(a.Send(ModbusMessage(7, "\x01\x03 a")));
  Peer server = local_.Accept();
  const std::string from_a = ReadModbus(server);
  ASSERT_TRUE(b.Send(ModbusMessage(7, "\x01\x03 b")));
  const std::string from_b = ReadModbus(server);
  EXPECT_EQ(from_a.substr(6), "\x01\x03 a");
  EXPECT_EQ(from_b.substr(6), "\x01\x03 b");
  ASSERT_NE(IdOf(from_a), IdOf(from_b));
  ASSERT_TRUE(server.Send(ModbusMessage(IdOf(from_b), "\x01\x03 for b") +
                          ModbusMessage(IdOf(from_a), "\x01\x03 for a")));
  EXPECT_EQ(ReadModbus(b), ModbusMessage(7, "\x01\x03 for b"));
  EXPECT_EQ(ReadModbus(a), ModbusMessage(7, "\x01\x03 for a"));
}

TEST_F(IdRepliesTest, OneClientsPipelineGetsItsIdsBack) {
  Start({.codec = test::Modbus()});
  Peer client = Connect();
  std::string requests;
  for (uint16_t id = 100; id < 110; ++id) requests += ModbusMessage(id, "\x01\x03");
  ASSERT_TRUE(client.Send(requests));
  Peer server = local_.Accept();
  std::vector<std::string> arrived;
  for (int i = 0; i < 10; ++i) arrived.push_back(ReadModbus(server));
  std::reverse(arrived.begin(), arrived.end());
  for (const std::string& request : arrived) ASSERT_TRUE(server.Send(request));
  for (uint16_t id = 110; id-- > 100;) EXPECT_EQ(IdOf(ReadModbus(client)), id);
}

TEST_F(IdRepliesTest, ReplyInPiecesIsReassembled) {
  Start({.codec = test::FramesWithId()});
  Peer client = Connect();
  const std::string content(1000, 'c');
  ASSERT_TRUE(client.Send(FrameWithId(5, content)));
  Peer server = local_.Accept();
  const std::string request = ReadFrame(server);
  for (size_t at = 0; at < request.size(); at += 7) {
    const uint64_t before = shared().bytes_read.Value();
    ASSERT_TRUE(server.Send(request.substr(at, 7)));
    ASSERT_TRUE(Eventually([&] { return shared().bytes_read.Value() > before; }));
  }
  EXPECT_EQ(ReadFrame(client), FrameWithId(5, content));
}

TEST_F(IdRepliesTest, LateReplyCostsItsClientOnlyAnExceptionAndIsDiscarded) {
  Start({.codec = test::Modbus(), .reply_timeout = absl::Milliseconds(300)});
  Peer slow = Connect();
  Peer quick = Connect();
  ASSERT_TRUE(slow.Send(ModbusMessage(1, "\x01\x03")));
  Peer server = local_.Accept();
  const std::string overdue = ReadModbus(server);
  // Other clients continue on the same connection.
  while (!test::WaitFor(slow.fd(), POLLIN, 1)) {
    ASSERT_TRUE(quick.Send(ModbusMessage(9, "\x02\x03")));
    ASSERT_TRUE(server.Send(ReadModbus(server)));
    ASSERT_EQ(ReadModbus(quick), ModbusMessage(9, "\x02\x03"));
  }
  EXPECT_EQ(ReadModbus(slow), ModbusMessage(1, "\x01\x83\x0b"));
  EXPECT_EQ(shared().reply_timeouts.Value(), 1u);
  const uint64_t unmatched = shared().replies_unmatched.Value();
  ASSERT_TRUE(server.Send(overdue));
  ASSERT_TRUE(Eventually([&] { return shared().replies_unmatched.Value() == unmatched + 1; }));
  ASSERT_TRUE(quick.Send(ModbusMessage(10, "\x02\x03")));
  ASSERT_TRUE(server.Send(ReadModbus(server)));
  EXPECT_EQ(ReadModbus(quick), ModbusMessage(10, "\x02\x03"));
}

// If timeouts ran one after the other, the last client would wait for the sum of all of them.
TEST_F(IdRepliesTest, EachLateReplyHasATimeoutOfItsOwn) {
  constexpr absl::Duration kTimeout = absl::Milliseconds(250);
  Start({.codec = test::Modbus(), .reply_timeout = kTimeout});
  std::vector<Peer> clients;
  const MonotonicTime start = MonotonicNow();
  for (int i = 0; i < 40; ++i) {
    clients.push_back(Connect());
    ASSERT_TRUE(clients.back().Send(ModbusMessage(1, "\x01\x03")));
  }
  for (Peer& client : clients) {
    EXPECT_EQ(ReadModbus(client), ModbusMessage(1, "\x01\x83\x0b"));
  }
  EXPECT_EQ(shared().reply_timeouts.Value(), 40u);
  // One after the other, they would take 10 s.
  EXPECT_LT(MonotonicNow() - start, 20 * kTimeout);
}

TEST_F(IdRepliesTest, UnsolicitedReplyIsDiscarded) {
  Start({.codec = test::FramesWithId()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(FrameWithId(1, "ask")));
  Peer server = local_.Accept();
  const std::string request = ReadFrame(server);
  const auto other = static_cast<uint16_t>(IdOf(request) + 1000);
  ASSERT_TRUE(server.Send(FrameWithId(other, "who?") + FrameWithId(IdOf(request), "you")));
  EXPECT_EQ(ReadFrame(client), FrameWithId(1, "you"));
  EXPECT_EQ(shared().replies_unmatched.Value(), 1u);
  // The same reply twice.
  ASSERT_TRUE(server.Send(FrameWithId(IdOf(request), "again")));
  ASSERT_TRUE(Eventually([&] { return shared().replies_unmatched.Value() == 2; }));
  client.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
}

TEST_F(IdRepliesTest, ReplyOfAClientThatLeftIsDiscarded) {
  Start({.codec = test::FramesWithId()});
  Peer leaver = Connect();
  ASSERT_TRUE(leaver.Send(FrameWithId(1, "ask")));
  Peer server = local_.Accept();
  const std::string request = ReadFrame(server);
  leaver.Reset();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  Peer client = Connect();
  ASSERT_TRUE(client.Send(FrameWithId(1, "mine")));
  const std::string second = ReadFrame(server);
  ASSERT_TRUE(server.Send(request + second));
  EXPECT_EQ(ReadFrame(client), FrameWithId(1, "mine"));
  EXPECT_EQ(shared().replies_discarded.Value(), 1u);
}

}  // namespace
}  // namespace trunkline
