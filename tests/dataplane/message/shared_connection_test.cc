// A shared connection under faults: clients that leave, servers that send too much, too little or
// nothing. The test plays owner, clients and server.
#include "dataplane/message/shared_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/timer_wheel.h"
#include "dataplane/codec/codec.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/table/message_service.h"
#include "tests/dataplane/message/connection_bench.h"

namespace trunkline {
namespace {

using test::ConnectionBench;
using test::IdMessage;
using test::TestClient;

const char kHttpRequest[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";

SharedConnectionOptions Options(std::shared_ptr<const Codec> codec = test::LineCodec()) {
  return {.codec = std::move(codec)};
}

// The next bytes at the server, as many as `expected` has.
void ExpectAtServer(ConnectionBench& bench, const std::string& expected) {
  bench.Run([&] { return bench.server.UnreadBytes() >= expected.size(); });
  EXPECT_EQ(bench.server.Read(expected.size()), expected);
}

TEST(SharedConnectionTest, RequestsOfOnePassLeaveInOneWrite) {
  ConnectionBench bench(Options());
  TestClient a;
  TestClient b;
  bench.Open();
  bench.Send(a, "a\n");
  bench.Send(b, "b\n");
  ExpectAtServer(bench, "a\nb\n");
  EXPECT_EQ(bench.counters().writes.Value(), 1u);
  EXPECT_EQ(bench.counters().requests.Value(), 2u);
}

TEST(SharedConnectionTest, RepliesGoToTheirClientsInTheOrderOfRequests) {
  ConnectionBench bench(Options());
  TestClient a;
  TestClient b;
  bench.Open();
  bench.Send(a, "1\n");
  bench.Send(b, "2\n");
  bench.Send(a, "3\n");
  ExpectAtServer(bench, "1\n2\n3\n");
  ASSERT_TRUE(bench.server.Send("one\ntwo\nthree\n"));
  bench.Run([&] { return bench.connection().idle(); });
  EXPECT_EQ(a.replies, "one\nthree\n");
  EXPECT_EQ(a.completed, 2u);
  EXPECT_EQ(b.replies, "two\n");
  EXPECT_GT(bench.rooms, 0) << "the owner is notified of room";
}

TEST(SharedConnectionTest, RepliesWithIdsFindTheirClientsInAnyOrder) {
  ConnectionBench bench(Options(test::IdCodec()));
  TestClient a;
  TestClient b;
  bench.Open();
  bench.Send(a, IdMessage(7, "a"));
  bench.Send(b, IdMessage(7, "b"));
  bench.Run([&] { return bench.server.UnreadBytes() >= 10; });
  const std::string first = bench.server.Read(5);
  const std::string second = bench.server.Read(5);
  ASSERT_NE(first.substr(0, 2), second.substr(0, 2)) << "both clients chose the same id";
  ASSERT_TRUE(bench.server.Send(second + first));
  bench.Run([&] { return bench.connection().idle(); });
  EXPECT_EQ(a.replies, IdMessage(7, "a"));
  EXPECT_EQ(b.replies, IdMessage(7, "b"));
}

TEST(SharedConnectionTest, EachReplyBeginsOnceWithTheArrivalOfItsRequest) {
  for (const bool with_ids : {false, true}) {
    SCOPED_TRACE(with_ids);
    const auto message = [&](const std::string& text) {
      return with_ids ? IdMessage(1, text) : text + "\n";
    };
    ConnectionBench bench(Options(with_ids ? test::IdCodec() : test::LineCodec()));
    TestClient client;
    bench.Open();
    const MonotonicTime first = MonotonicTime::FromNanos(1);
    const MonotonicTime second = MonotonicTime::FromNanos(2);
    bench.Send(client, message("a"), /*open=*/false, first);
    bench.Send(client, message("b"), /*open=*/false, second);
    bench.Run([&] { return bench.server.UnreadBytes() >= 2 * message("a").size(); });
    const std::string requests = bench.server.Read(2 * message("a").size());
    // The second reply comes in two pieces.
    ASSERT_TRUE(bench.server.Send(requests.substr(0, requests.size() - 1)));
    bench.Run([&] { return client.completed == 1; });
    ASSERT_TRUE(bench.server.Send(requests.substr(requests.size() - 1)));
    bench.Run([&] { return client.completed == 2; });
    EXPECT_EQ(client.begun, std::vector({first, second}));
  }
}

TEST(SharedConnectionTest, ReplyToAClientThatLeftIsDiscarded) {
  ConnectionBench bench(Options());
  TestClient gone;
  TestClient stays;
  bench.Open();
  bench.Send(gone, "gone\n");
  bench.Send(stays, "stays\n");
  ExpectAtServer(bench, "gone\nstays\n");
  bench.connection().Abandon(&gone);
  ASSERT_TRUE(bench.server.Send("for gone\nfor stays\n"));
  bench.Run([&] { return bench.connection().idle(); });
  EXPECT_EQ(gone.replies, "");
  EXPECT_EQ(stays.replies, "for stays\n");
  EXPECT_EQ(bench.counters().replies_discarded.Value(), 1u);
  EXPECT_FALSE(bench.closed());
}

TEST(SharedConnectionTest, UnsolicitedBytesCloseTheConnection) {
  ConnectionBench bench(Options());
  TestClient client;
  bench.Open();
  bench.Send(client, "request\n");
  ExpectAtServer(bench, "request\n");
  ASSERT_TRUE(bench.server.Send("reply\nunasked\n"));
  bench.RunUntilClosed();
  EXPECT_EQ(client.replies, "reply\n") << "the good reply arrives, the other one does not";
  EXPECT_TRUE(client.unanswered.empty());
  EXPECT_EQ(bench.why().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(bench.never_up());
  EXPECT_EQ(bench.counters().protocol_errors.Value(), 1u);
  EXPECT_EQ(bench.unasked, 1);
}

TEST(SharedConnectionTest, MalformedReplyIsNoUnaskedOne) {
  ConnectionBench bench(Options(test::HttpCodec()));
  TestClient client;
  bench.Open();
  bench.Send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  bench.Run([&] { return bench.server.UnreadBytes() > 0; });
  ASSERT_TRUE(bench.server.Send("no reply\r\n\r\n"));
  bench.RunUntilClosed();
  EXPECT_EQ(bench.counters().protocol_errors.Value(), 1u);
  EXPECT_EQ(bench.unasked, 0);
}

// They are in the socket before the connection's next request is sent.
TEST(SharedConnectionTest, BytesBeforeTheRequestAreNotItsReply) {
  ConnectionBench bench(Options());
  TestClient client;
  bench.Open();
  ASSERT_TRUE(bench.server.Send("unasked\n"));
  bench.Send(client, "request\n");
  bench.RunUntilClosed();
  EXPECT_EQ(client.replies, "");
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_FALSE(client.unanswered[0].written);
  EXPECT_EQ(client.unanswered[0].request, "request\n") << "it can go elsewhere";
  EXPECT_EQ(bench.unasked, 1);
}

TEST(SharedConnectionTest, BytesBeforeAStreamedRequestAreNotItsReply) {
  ConnectionBench bench(Options(test::HttpCodec()));
  TestClient client;
  bench.Open();
  ASSERT_TRUE(bench.server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  bench.Send(client, kHttpRequest, /*open=*/true);
  bench.RunUntilClosed();
  EXPECT_EQ(client.replies, "");
  EXPECT_EQ(client.unanswered.size(), 1u);
  EXPECT_EQ(bench.unasked, 1);
}

TEST(SharedConnectionTest, LateReplyClosesItWhereRepliesComeInOrder) {
  SharedConnectionOptions options = Options();
  options.reply_timeout = absl::Milliseconds(30);
  ConnectionBench bench(options);
  TestClient client;
  bench.Open();
  bench.Send(client, "request\n");
  bench.RunUntilClosed();
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_TRUE(client.unanswered[0].written);
  EXPECT_EQ(client.unanswered[0].request, "") << "a server may have seen it";
  EXPECT_EQ(bench.why().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(bench.counters().reply_timeouts.Value(), 1u);
}

TEST(SharedConnectionTest, LateReplyWithAnIdFailsItsRequestAlone) {
  SharedConnectionOptions options = Options(test::IdCodec());
  options.reply_timeout = absl::Milliseconds(30);
  ConnectionBench bench(options);
  TestClient client;
  bench.Open();
  bench.Send(client, IdMessage(1, "x"));
  bench.Run([&] { return !client.unanswered.empty(); });
  EXPECT_FALSE(bench.closed());
  // Its reply comes after all.
  ASSERT_TRUE(bench.server.Send(bench.server.Read(5)));
  bench.Run([&] { return bench.counters().replies_unmatched.Value() == 1; });
  EXPECT_EQ(client.replies, "");
}

TEST(SharedConnectionTest, ServerThatWaitsForASlowClientHasNoReplyTimeout) {
  SharedConnectionOptions options = Options();
  options.reply_timeout = absl::Milliseconds(30);
  ConnectionBench bench(options);
  TestClient client;
  bench.Open();
  bench.Send(client, "request\n");
  ExpectAtServer(bench, "request\n");
  bench.connection().PauseFor(&client);
  // Two other timeouts of the same length pass on the same loop.
  struct Ticker {
    void OnTimer() { ++ticks; }
    int ticks = 0;
    MemberTimer<Ticker, &Ticker::OnTimer> timer{this};
  } ticker;
  for (int i = 1; i <= 3; ++i) {
    bench.loop().Arm(ticker.timer, options.reply_timeout);
    bench.Run([&] { return ticker.ticks == i; });
  }
  EXPECT_FALSE(bench.closed());
  bench.connection().Release(&client);
  bench.RunUntilClosed();
  EXPECT_EQ(bench.counters().reply_timeouts.Value(), 1u);
}

TEST(SharedConnectionTest, SlowClientLearnsWhetherOthersWait) {
  ConnectionBench bench(Options());
  TestClient slow;
  TestClient other;
  bench.Open();
  bench.Send(slow, "slow\n");
  bench.connection().PauseFor(&slow);
  EXPECT_FALSE(bench.connection().OthersWait(&slow));
  bench.Send(slow, "again\n");
  EXPECT_EQ(slow.others, 0) << "it does not wait for itself";
  bench.Send(other, "other\n");
  EXPECT_EQ(slow.others, 1);
  EXPECT_TRUE(bench.connection().OthersWait(&slow)) << "a reply of another client is behind it";
  bench.connection().Abandon(&other);
  EXPECT_FALSE(bench.connection().OthersWait(&slow));
  bench.has_waiters = true;
  bench.connection().OnWaiters();
  EXPECT_EQ(slow.others, 2);
  EXPECT_TRUE(bench.connection().OthersWait(&slow)) << "flows wait for room";
}

TEST(SharedConnectionTest, PausedConnectionIsHeldUpAndReadsAfterRelease) {
  ConnectionBench bench(Options());
  TestClient client;
  TestClient other;
  bench.Open();
  bench.Send(client, "request\n");
  ExpectAtServer(bench, "request\n");
  bench.connection().PauseFor(&client);
  EXPECT_TRUE(bench.connection().held_up());
  ASSERT_TRUE(bench.server.Send("reply\n"));
  bench.RunOnce();
  EXPECT_EQ(client.replies, "");
  bench.connection().Release(&other);
  EXPECT_EQ(bench.connection().read_state(), ReadState::kPaused) << "it is paused for another one";
  bench.connection().Release(&client);
  EXPECT_FALSE(bench.connection().held_up());
  bench.Run([&] { return client.replies == "reply\n"; });
}

TEST(SharedConnectionTest, ConnectionIsHeldUpUntilItsSlowClientLeaves) {
  ConnectionBench bench(Options());
  TestClient slow;
  TestClient other;
  bench.Open();
  bench.Send(slow, "slow\n");
  bench.Send(other, "other\n");
  ExpectAtServer(bench, "slow\nother\n");
  bench.connection().ReadOnFor(&slow);
  EXPECT_TRUE(bench.connection().held_up());
  ASSERT_TRUE(bench.server.Send("for slow\nfor other\n"));
  bench.Run([&] { return other.replies == "for other\n"; });
  EXPECT_TRUE(bench.connection().held_up());
  bench.connection().Abandon(&slow);
  EXPECT_FALSE(bench.connection().held_up());
}

SharedConnectionOptions Greeted(std::shared_ptr<const Codec> codec = test::LineCodec()) {
  SharedConnectionOptions options = Options(std::move(codec));
  options.greeting = true;
  return options;
}

TEST(SharedConnectionTest, GreetingIsDiscardedBeforeAnyRequestIsSent) {
  for (const bool with_ids : {false, true}) {
    SCOPED_TRACE(with_ids);
    const std::string greeting = with_ids ? IdMessage(0, "welcome") : "220 ready\n";
    const std::string request = with_ids ? IdMessage(0, "ask") : "ask\n";
    ConnectionBench bench(Greeted(with_ids ? test::IdCodec() : test::LineCodec()));
    TestClient client;
    bench.Dial();
    bench.Send(client, request);
    bench.Run([&] { return bench.connection().state() == ConnectionState::kGreeting; });
    bench.RunOnce();
    EXPECT_EQ(bench.server.UnreadBytes(), 0u) << "the server has not greeted yet";
    // In two pieces.
    ASSERT_TRUE(bench.server.Send(greeting.substr(0, 3)));
    bench.Run([&] { return bench.counters().bytes_read.Value() == 3; });
    EXPECT_EQ(bench.ups, 0);
    ASSERT_TRUE(bench.server.Send(greeting.substr(3)));
    bench.Run([&] { return bench.connection().up(); });
    EXPECT_EQ(bench.ups, 1);
    ExpectAtServer(bench, request);
    ASSERT_TRUE(bench.server.Send(request));
    bench.Run([&] { return client.completed == 1; });
    EXPECT_EQ(client.replies, request);
  }
}

TEST(SharedConnectionTest, BytesBehindTheGreetingAreUnasked) {
  ConnectionBench bench(Greeted());
  TestClient client;
  bench.Dial();
  bench.Send(client, "request\n");
  ASSERT_TRUE(bench.server.Send("220 ready\nand more\n"));
  bench.RunUntilClosed();
  EXPECT_EQ(client.replies, "");
  EXPECT_EQ(bench.unasked, 1);
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_FALSE(client.unanswered[0].written) << "it can go elsewhere";
}

TEST(SharedConnectionTest, ServerWithoutAGreetingCountsAsUnreachable) {
  SharedConnectionOptions options = Greeted();
  options.connect_timeout = absl::Milliseconds(30);
  ConnectionBench bench(options);
  bench.Dial();
  bench.RunUntilClosed();
  EXPECT_TRUE(bench.never_up());
  EXPECT_THAT(std::string(bench.why().message()), testing::HasSubstr("remove message.greeting"));
}

TEST(SharedConnectionTest, UnaskedBytesHintAtTheGreetingWhereItIsPossible) {
  for (const bool possible : {false, true}) {
    ConnectionBench bench(Options(possible ? test::LineCodec() : test::HttpCodec()));
    bench.Open();
    ASSERT_TRUE(bench.server.Send("220 ready\n"));
    bench.RunUntilClosed();
    const std::string why(bench.why().message());
    EXPECT_EQ(why.find("set message.greeting: one_message") != std::string::npos, possible) << why;
  }
}

TEST(SharedConnectionTest, RefusedDialIsReportedFromTheLoop) {
  ConnectionBench bench(Options());
  TestClient client;
  bench.DialRefused();
  ASSERT_FALSE(bench.closed());
  bench.Send(client, "request\n");
  bench.RunUntilClosed();
  EXPECT_TRUE(bench.never_up());
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_EQ(client.unanswered[0].request, "request\n") << "it can go elsewhere";
  EXPECT_FALSE(client.unanswered[0].written);
  EXPECT_EQ(bench.counters().resent.Value(), 1u);
}

TEST(SharedConnectionTest, WrittenRequestIsReturnedOnlyIfIdempotent) {
  for (const bool idempotent : {false, true}) {
    SCOPED_TRACE(idempotent);
    SharedConnectionOptions options = Options(test::IdCodec());
    options.idempotent = idempotent;
    ConnectionBench bench(options);
    TestClient client;
    bench.Open();
    bench.Send(client, IdMessage(9, "x"));
    bench.Run([&] { return bench.server.UnreadBytes() == 5; });
    bench.server.Reset();
    bench.RunUntilClosed();
    ASSERT_EQ(client.unanswered.size(), 1u);
    EXPECT_TRUE(client.unanswered[0].written);
    EXPECT_EQ(client.unanswered[0].request, idempotent ? IdMessage(9, "x") : "")
        << "with the client's own id";
  }
}

TEST(SharedConnectionTest, RequestWhoseReplyHasBegunIsNotReturned) {
  SharedConnectionOptions options = Options();
  options.idempotent = true;
  ConnectionBench bench(options);
  TestClient client;
  bench.Open();
  bench.Send(client, "request\n");
  ExpectAtServer(bench, "request\n");
  ASSERT_TRUE(bench.server.Send("half of a re"));
  bench.Run([&] { return !client.replies.empty(); });
  bench.server.Close();
  bench.RunUntilClosed();
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_TRUE(client.unanswered[0].begun);
  EXPECT_EQ(client.unanswered[0].request, "");
}

// The server's FIN is in the socket before the request is appended.
TEST(SharedConnectionTest, RequestOnAConnectionThatTheServerJustClosedIsReturnedUnwritten) {
  ConnectionBench bench(Options());
  TestClient client;
  bench.Open();
  bench.server.Close();
  bench.Send(client, "request\n");
  bench.RunUntilClosed();
  ASSERT_EQ(client.unanswered.size(), 1u);
  EXPECT_FALSE(client.unanswered[0].written);
  EXPECT_EQ(client.unanswered[0].request, "request\n");
}

TEST(SharedConnectionTest, FullOutputBufferNotifiesItsSenderWhenRoomReturns) {
  ConnectionBench bench(Options(test::HttpCodec()));
  TestClient client;
  bench.Open();
  bench.Send(client, kHttpRequest, /*open=*/true);
  EXPECT_FALSE(bench.connection().HasRoom()) << "one request at a time";
  const std::string body(64 * 1024, 'x');
  // The kernel takes some of it first.
  bench.Run([&] {
    return !bench.connection().SendMore(test::AsBytes(body), /*open=*/true, MonotonicTime());
  });
  EXPECT_EQ(client.rooms, 0);
  bench.Run([&] {
    bench.server.Read(bench.server.UnreadBytes());
    return client.rooms == 1;
  });
  EXPECT_EQ(bench.connection().request_state(), RequestState::kPartial);
}

TEST(SharedConnectionTest, ReplyToAnIncompleteRequestIsTheLast) {
  ConnectionBench bench(Options(test::HttpCodec()));
  TestClient client;
  bench.Open();
  bench.Send(client, kHttpRequest, /*open=*/true);
  ExpectAtServer(bench, kHttpRequest);
  ASSERT_TRUE(bench.server.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"));
  bench.RunUntilClosed();
  EXPECT_TRUE(client.last);
  EXPECT_TRUE(bench.why().ok());
  EXPECT_TRUE(client.unanswered.empty());
}

TEST(SharedConnectionTest, ClientThatLeavesClosesAConnectionOfOneRequestAtATime) {
  ConnectionBench bench(Options(test::HttpCodec()));
  TestClient client;
  bench.Open();
  bench.Send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  bench.connection().Abandon(&client);
  ASSERT_TRUE(bench.closed());
  EXPECT_TRUE(bench.why().ok());
  EXPECT_TRUE(client.unanswered.empty()) << "it must get no callback";
}

TEST(SharedConnectionTest, IdleConnectionClosesInOrder) {
  SharedConnectionOptions options = Options();
  options.idle_timeout = absl::Milliseconds(30);
  ConnectionBench bench(options);
  bench.Open();
  bench.RunUntilClosed();
  EXPECT_TRUE(bench.why().ok());
  EXPECT_FALSE(bench.never_up());
}

}  // namespace
}  // namespace trunkline
