#include "common/http2/http2_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/window_budget.h"
#include "common/http2/stream_window.h"
#include "tests/common/http2/http2_pair.h"

namespace trunkline {
namespace {

using test::Frame;
using test::Http2Pair;
using test::ParseFrames;
using test::TestStream;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kStreamWindow = 64 * 1024;
constexpr size_t kQuantum = 16 * 1024;

size_t CountFrames(const std::string& bytes, uint8_t type) {
  const std::vector<Frame> frames = ParseFrames(bytes);
  return std::count_if(frames.begin(), frames.end(),
                       [&](const Frame& f) { return f.type == type; });
}

TEST(Http2SessionTest, StreamCarriesBytesBothWaysAndClosesCleanly) {
  Http2Pair pair;
  TestStream& near = pair.Open("db:5432");
  EXPECT_THAT(pair.server.authorities, ElementsAre("db:5432"));
  EXPECT_THAT(near.headers, ElementsAre(200));
  near.Send("question");
  pair.Pump();
  EXPECT_EQ(pair.far().received, "question");
  pair.far().Send("answer", /*last=*/true);
  pair.Pump();
  EXPECT_EQ(near.received, "answer");
  EXPECT_EQ(near.ends, 1);
  EXPECT_FALSE(near.end_was_closing);
  EXPECT_THAT(near.closes, IsEmpty());
  near.Send("", /*last=*/true);
  pair.Pump();
  EXPECT_TRUE(pair.far().end_was_closing);
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
  EXPECT_THAT(pair.far().closes, ElementsAre(NGHTTP2_NO_ERROR));
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
}

TEST(Http2SessionTest, FirstBytesFollowTheRequestBeforeItsResponse) {
  Http2Pair pair;
  pair.Pump();
  pair.Start().source = "hello";
  const std::vector<Frame> frames = ParseFrames(pair.client.TakeOutput());
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].type, NGHTTP2_HEADERS);
  EXPECT_EQ(frames[1].type, NGHTTP2_DATA);
  EXPECT_EQ(frames[1].payload, "hello");
}

TEST(Http2SessionTest, ServerMaySendAfterTheClientsHalfClose) {
  Http2Pair pair;
  TestStream& near = pair.Open();
  near.Send("all", /*last=*/true);
  pair.Pump();
  EXPECT_EQ(pair.far().ends, 1);
  EXPECT_THAT(pair.far().closes, IsEmpty());
  for (int i = 0; i < 3; ++i) {
    pair.far().Send("more");
    pair.Pump();
  }
  EXPECT_EQ(near.received, "moremoremore");
  pair.far().Send("", /*last=*/true);
  pair.Pump();
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
}

TEST(Http2SessionTest, BrokenSourceResetsTheStreamWithConnectError) {
  Http2Pair pair;
  TestStream& near = pair.Open();
  near.Abort();
  pair.Pump();
  EXPECT_THAT(pair.far().closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
}

TEST(Http2SessionTest, AbandonedStreamGetsNoCallbackAndIsResetAtThePeer) {
  Http2Pair pair;
  TestStream& near = pair.Open();
  pair.client.session.Abandon(&near, NGHTTP2_CANCEL);
  EXPECT_FALSE(near.attached());
  pair.far().Send("too late");
  pair.Pump();
  EXPECT_EQ(near.received, "");
  EXPECT_THAT(near.closes, IsEmpty());
  EXPECT_THAT(pair.far().closes, ElementsAre(NGHTTP2_CANCEL));
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
}

TEST(Http2SessionTest, StreamAbandonedBeforeItsRequestIsSentNeverReachesTheServer) {
  Http2Pair pair;
  pair.Pump();
  TestStream& near = pair.Start();
  pair.client.session.Abandon(&near, NGHTTP2_CANCEL);
  pair.Pump();
  EXPECT_THAT(pair.server.authorities, IsEmpty());
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
}

class RefusalTest : public ::testing::TestWithParam<int> {};

TEST_P(RefusalTest, RefusedRequestEndsWithItsStatusAndTheTrunkStaysUp) {
  Http2Pair pair;
  pair.server.refuse_with = GetParam();
  TestStream& near = pair.Open();
  EXPECT_THAT(near.headers, ElementsAre(GetParam()));
  EXPECT_EQ(near.ends, 1);
  EXPECT_EQ(near.closes.size(), 1u);
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
  pair.server.refuse_with = 0;
  EXPECT_THAT(pair.Open().headers, ElementsAre(200));
}

TEST_P(RefusalTest, ServerForgetsAStreamThatItRefusesLater) {
  Http2Pair pair;
  pair.server.prepare = [](TestStream&) {};
  TestStream& near = pair.Start();
  near.source = "discarded bytes";
  pair.Pump();
  pair.server.session.Respond(&pair.far(), GetParam());
  EXPECT_FALSE(pair.far().attached());
  pair.Pump();
  EXPECT_THAT(near.headers, ElementsAre(GetParam()));
  EXPECT_THAT(pair.far().closes, IsEmpty());
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Statuses, RefusalTest, ::testing::Values(404, 405, 503));

// An HTTP client that reaches the port by mistake sends another method.
TEST(Http2SessionTest, RequestOtherThanConnectIsAnswered405) {
  Http2Pair pair;
  pair.Pump();
  // HEADERS with END_STREAM: ":method: GET", ":scheme: http", ":path: /" of the static table,
  // ":authority: x".
  const std::string block = std::string("\x82\x86\x84\x41\x01x", 6);
  const std::string frame = std::string("\x00\x00\x06\x01\x05\x00\x00\x00\x01", 9) + block;
  ASSERT_TRUE(pair.server.Give(frame).ok());
  EXPECT_THAT(pair.server.authorities, IsEmpty());
  const std::vector<Frame> answer = ParseFrames(pair.server.TakeOutput());
  ASSERT_FALSE(answer.empty());
  EXPECT_EQ(answer[0].type, NGHTTP2_HEADERS);
  EXPECT_THAT(answer[0].payload, ::testing::HasSubstr("405"));
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
}

TEST(Http2SessionTest, ExtensionSettingIsReceivedAndAGetIsAnswered) {
  Http2Pair pair(/*max_streams=*/1000, {.id = 0xf0aa, .value = 7});
  pair.Pump();
  EXPECT_EQ(pair.client.session.peer_extension(), 7u);
  EXPECT_EQ(pair.server.session.peer_extension(), 0u);
  TestStream& near = pair.Make();
  ASSERT_TRUE(pair.client.session.Get(pair.server.known_path, &near).ok());
  pair.Pump();
  EXPECT_THAT(pair.server.gets, ElementsAre("/known"));
  EXPECT_THAT(near.headers, ElementsAre(200));
  pair.far().Send("db 1 2\n");
  pair.Pump();
  pair.far().Send("db 3 4\n", /*last=*/true);
  pair.Pump();
  EXPECT_EQ(near.received, "db 1 2\ndb 3 4\n");
  EXPECT_THAT(near.closes, ElementsAre(0u)) << "the request ended with its HEADERS";
  EXPECT_EQ(pair.client.session.open_streams(), 0u);
  EXPECT_EQ(pair.server.session.open_streams(), 0u);
}

TEST(Http2SessionTest, PeerWithoutTheExtensionSettingHasNoExtension) {
  Http2Pair pair;
  pair.Pump();
  EXPECT_EQ(pair.client.session.peer_extension(), 0u);
}

// An agent of an older version and any web server refuse it.
TEST(Http2SessionTest, RefusedGetFailsAndTheTrunkStaysUp) {
  Http2Pair pair;
  pair.server.refuse_with = 404;
  TestStream& near = pair.Make();
  ASSERT_TRUE(pair.client.session.Get(pair.server.known_path, &near).ok());
  pair.Pump();
  EXPECT_THAT(near.headers, ElementsAre(404));
  EXPECT_EQ(near.closes.size(), 1u);
  pair.server.refuse_with = 0;
  EXPECT_THAT(pair.Open().headers, ElementsAre(200));
}

// Another implementation may send "100 Continue" or "103" first, which is no refusal.
TEST(Http2SessionTest, InformationalResponseIsSkipped) {
  Http2Pair pair;
  pair.server.prepare = [](TestStream&) {};
  TestStream& near = pair.Open();
  // HEADERS, END_HEADERS: ":status: 103" as a literal without indexing, name 8 of the static table;
  // then ":status: 200".
  const std::string interim = std::string(
      "\x00\x00\x05\x01\x04\x00\x00\x00\x01\x08\x03"
      "103",
      14);
  const std::string final = std::string("\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88", 10);
  ASSERT_TRUE(pair.client.Give(interim).ok());
  EXPECT_THAT(near.headers, IsEmpty());
  ASSERT_TRUE(pair.client.Give(final).ok());
  EXPECT_THAT(near.headers, ElementsAre(200));
}

// DATA that follows it would belong to a stream that no server has accepted.
TEST(Http2SessionTest, ResponseWithAStatusBelow100ResetsItsStream) {
  Http2Pair pair;
  pair.server.prepare = [](TestStream&) {};
  TestStream& near = pair.Open();
  // HEADERS, END_HEADERS: ":status: 099", then DATA.
  const std::string headers = std::string(
      "\x00\x00\x05\x01\x04\x00\x00\x00\x01\x08\x03"
      "099",
      14);
  const std::string data = std::string("\x00\x00\x01\x00\x00\x00\x00\x00\x01x", 10);
  ASSERT_TRUE(pair.client.Give(headers + data).ok());
  EXPECT_THAT(near.headers, IsEmpty());
  EXPECT_THAT(near.received, IsEmpty());
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_PROTOCOL_ERROR));
}

TEST(Http2SessionTest, StreamsAboveTheLastIdOfAGoAwayAreRefusedAndOthersContinue) {
  Http2Pair pair;
  TestStream& first = pair.Open();
  TestStream& late = pair.Start();
  const std::string request = pair.client.TakeOutput();  // in flight
  pair.server.session.GoAway(NGHTTP2_NO_ERROR);
  ASSERT_TRUE(pair.client.Give(pair.server.TakeOutput()).ok());
  EXPECT_THAT(pair.client.goaways, ElementsAre(first.stream_id()));
  EXPECT_THAT(late.closes, ElementsAre(NGHTTP2_REFUSED_STREAM));
  ASSERT_TRUE(pair.server.Give(request).ok());
  EXPECT_EQ(pair.server.accepted.size(), 1u) << "the server must not accept it";
  first.Send("still", /*last=*/true);
  pair.Pump();
  EXPECT_EQ(pair.far().received, "still");
  EXPECT_FALSE(pair.client.session.Finished());
  pair.far().Send("here", /*last=*/true);
  pair.Pump();
  EXPECT_EQ(first.received, "here");
  EXPECT_TRUE(pair.client.session.Finished());
  EXPECT_TRUE(pair.server.session.Finished());
}

TEST(Http2SessionTest, StreamsInFlightAtTheShutdownNoticeAreServed) {
  Http2Pair pair;
  pair.Pump();
  TestStream& late = pair.Start();
  const std::string request = pair.client.TakeOutput();
  pair.server.session.AnnounceShutdown();
  ASSERT_TRUE(pair.client.Give(pair.server.TakeOutput()).ok());
  EXPECT_EQ(pair.client.goaways.size(), 1u);
  EXPECT_THAT(late.closes, IsEmpty());
  ASSERT_TRUE(pair.server.Give(request).ok());
  pair.Pump();
  EXPECT_THAT(late.headers, ElementsAre(200));
}

TEST(Http2SessionTest, UnreadStreamStopsAtItsWindowAndTheOthersProceed) {
  Http2Pair pair;
  TestStream& stalled = pair.Open();
  TestStream& unread = pair.far();
  unread.consume = false;
  stalled.Send(std::string(1'000'000, 's'));
  pair.Pump();
  EXPECT_EQ(unread.received.size(), kStreamWindow);
  EXPECT_TRUE(pair.client.session.WindowClosed(&stalled));
  // More than all stream windows together: the connection's window must not be the limit.
  for (int i = 0; i < 20; ++i) {
    TestStream& live = pair.Open();
    live.Send(std::string(2'000'000, 'l'), /*last=*/true);
    pair.Pump();
    ASSERT_EQ(pair.far().received.size(), 2'000'000u);
    pair.far().Send("", /*last=*/true);
    pair.Pump();
  }
  EXPECT_EQ(unread.received.size(), kStreamWindow);
  pair.server.session.Consume(&unread, kStreamWindow, MonotonicTime());
  pair.Pump();
  EXPECT_EQ(unread.received.size(), 2 * kStreamWindow);
}

TEST(Http2SessionTest, GrownWindowOfAReaderThatStallsIsNotFilledAgain) {
  WindowBudget budget(StreamWindow::kBudgetBytes);
  Http2Pair pair(1000, {}, &budget);
  pair.server.session.set_round_trip(absl::Seconds(1));
  TestStream& near = pair.Open();
  TestStream& far = pair.far();
  // Several times the largest window.
  std::string much;
  much.resize(30'000'000, 'x');
  near.Send(much);
  pair.Pump();
  ASSERT_EQ(far.received.size(), much.size());
  EXPECT_EQ(budget.left(),
            StreamWindow::kBudgetBytes - StreamWindow::kMaxBytes + StreamWindow::kInitialBytes);
  // The reader stalls, and the peer may fill the granted window.
  far.consume = false;
  far.received.clear();
  near.Send(much);
  pair.Pump();
  const size_t kept = far.received.size();
  EXPECT_GT(kept, static_cast<size_t>(StreamWindow::kMaxBytes) / 2);
  // Then it reads a little at a time: the peer sends nothing until only an initial window is left.
  MonotonicTime now = MonotonicTime() + absl::Seconds(10);
  size_t read = 0;
  for (; read + kStreamWindow < kept; read += 1000) {
    ASSERT_EQ(far.received.size(), kept) << read;
    pair.server.session.Consume(&far, 1000, now, /*waited=*/true);
    now = now + absl::Milliseconds(1);
    pair.Pump();
  }
  EXPECT_EQ(budget.left(), StreamWindow::kBudgetBytes);
  // From then on it has an initial window.
  for (int i = 0; i < 1000; ++i) {
    pair.server.session.Consume(&far, 1000, now, /*waited=*/true);
    now = now + absl::Milliseconds(200);
    pair.Pump();
    read += 1000;
    ASSERT_LE(far.received.size(), read + kStreamWindow);
    ASSERT_GE(far.received.size(), read + kStreamWindow / 4);
  }
}

// 300 windows are more than the connection's own 16 MiB.
TEST(Http2SessionTest, ManyUnreadStreamsDoNotCloseTheConnectionsWindow) {
  Http2Pair pair;
  std::vector<TestStream*> stalled;
  for (int i = 0; i < 300; ++i) {
    stalled.push_back(&pair.Open());
    pair.far().consume = false;
    stalled.back()->Send(std::string(kStreamWindow, 's'));
    pair.Pump();
  }
  TestStream& live = pair.Open();
  live.Send(std::string(1'000'000, 'l'));
  pair.Pump();
  EXPECT_EQ(pair.far().received.size(), 1'000'000u);
}

TEST(Http2SessionTest, ConsumedBytesReopenTheWindowThroughoutTheStream) {
  Http2Pair pair;
  TestStream& near = pair.Open();
  std::string sent;
  for (int i = 0; i < 50; ++i) {
    const std::string piece(kStreamWindow - 1, static_cast<char>('a' + i % 26));
    near.Send(piece);
    sent += piece;
    pair.Pump();
    ASSERT_EQ(pair.far().received.size(), sent.size()) << "round " << i;
  }
  EXPECT_EQ(pair.far().received, sent);
}

TEST(Http2SessionTest, ReadyStreamsGetOneQuantumEachInTurn) {
  Http2Pair pair;
  std::vector<TestStream*> bulk;
  for (int i = 0; i < 3; ++i) bulk.push_back(&pair.Open());
  for (const auto& stream : bulk) stream->Send(std::string(3 * kQuantum, 'b'));
  std::vector<int32_t> order;
  for (const Frame& frame : ParseFrames(pair.client.TakeOutput())) {
    if (frame.type == NGHTTP2_DATA) order.push_back(frame.stream);
  }
  EXPECT_THAT(order, ElementsAre(1, 3, 5, 1, 3, 5, 1, 3, 5));
}

TEST(Http2SessionTest, SmallStreamWaitsForOneQuantumOfEachBulkStreamAtMost) {
  Http2Pair pair;
  std::vector<TestStream*> bulk;
  for (int i = 0; i < 4; ++i) bulk.push_back(&pair.Open());
  TestStream& small = pair.Open();
  for (const auto& stream : bulk) stream->Send(std::string(1'000'000, 'b'));
  pair.client.TakeOutput(2 * kQuantum);
  ASSERT_TRUE(pair.client.more) << "bulk must be in flight";
  small.Send("ping");
  size_t before_small = 0;
  bool found = false;
  while (!found && before_small < 1'000'000) {
    const std::string bytes = pair.client.TakeOutput(2 * kQuantum);
    ASSERT_FALSE(bytes.empty());
    for (const Frame& frame : ParseFrames(bytes)) {
      found = found || frame.stream == small.stream_id();
      if (!found) before_small += frame.length;
    }
    ASSERT_TRUE(pair.server.Give(bytes).ok());
    ASSERT_TRUE(pair.client.Give(pair.server.TakeOutput()).ok());
  }
  EXPECT_LE(before_small, bulk.size() * kQuantum);
}

TEST(Http2SessionTest, ProduceStopsNearTheHighWaterMarkAndReportsMore) {
  Http2Pair pair;
  std::vector<TestStream*> streams;
  for (int i = 0; i < 20; ++i) streams.push_back(&pair.Open());
  for (const auto& stream : streams) stream->Send(std::string(kStreamWindow, 'x'));
  constexpr size_t kHighWater = 100'000;
  size_t total = 0;
  do {
    const std::string bytes = pair.client.TakeOutput(kHighWater);
    EXPECT_LE(bytes.size(), kHighWater + kQuantum + 9);
    total += bytes.size();
    ASSERT_TRUE(pair.server.Give(bytes).ok());
  } while (pair.client.more);
  EXPECT_GE(total, 20 * kStreamWindow);
}

TEST(Http2SessionTest, FiftyThousandClientAbortsCauseNoGoAway) {
  Http2Pair pair;
  for (int i = 0; i < 50'000; ++i) {
    TestStream near;
    ASSERT_TRUE(pair.client.session.Connect("db:1", &near).ok());
    ASSERT_TRUE(pair.server.Give(pair.client.TakeOutput()).ok());
    pair.client.session.Abandon(&near, NGHTTP2_CONNECT_ERROR);
    ASSERT_TRUE(pair.server.Give(pair.client.TakeOutput()).ok());
    ASSERT_TRUE(pair.client.Give(pair.server.TakeOutput()).ok());
    if (pair.server.accepted.size() > 1) pair.server.accepted.pop_front();
  }
  EXPECT_THAT(pair.client.goaways, IsEmpty());
  EXPECT_THAT(pair.Open().headers, ElementsAre(200));
}

TEST(Http2SessionTest, CloseAllNotifiesEveryStreamOnce) {
  Http2Pair pair;
  std::vector<TestStream*> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(&pair.Open());
  // The first stream that is closed abandons another one, which then gets no OnClosed.
  TestStream* abandoned = streams[0];
  streams[9]->on_closed = [&](TestStream&) {
    pair.client.session.Abandon(abandoned, NGHTTP2_CANCEL);
  };
  pair.client.session.CloseAll(77);
  EXPECT_THAT(streams[0]->closes, IsEmpty());
  for (size_t i = 1; i < streams.size(); ++i) {
    EXPECT_THAT(streams[i]->closes, ElementsAre(77u)) << i;
    EXPECT_FALSE(streams[i]->attached());
  }
}

class AbandonTest : public ::testing::TestWithParam<std::string> {};

TEST_P(AbandonTest, StreamMayAbandonItselfInAnyCallback) {
  for (const bool on_server : {false, true}) {
    Http2Pair pair;
    const auto leave = [](TestStream& s) { s.session()->Abandon(&s, NGHTTP2_CANCEL); };
    const auto arm = [&](TestStream& stream) {
      if (GetParam() == "headers") stream.on_headers = leave;
      if (GetParam() == "data") stream.on_data = leave;
      if (GetParam() == "end") stream.on_end = leave;
      if (GetParam() == "pull") stream.on_pull = leave;
    };
    TestStream& near = pair.Make();
    if (on_server) {
      pair.server.prepare = [&](TestStream& stream) {
        stream.on_headers = [](TestStream& s) { s.Respond(200); };
        arm(stream);
      };
    } else {
      arm(near);
    }
    // More than a frame, so that a pull fills its buffer.
    near.source = std::string(100'000, 'q');
    near.finish = true;
    pair.Connect(near);
    pair.Pump();
    if (pair.far().attached()) pair.far().Send("answer", /*last=*/true);
    pair.Pump();
    pair.Pump();
    TestStream& leaver = on_server ? pair.far() : near;
    EXPECT_THAT(leaver.closes, IsEmpty());
    EXPECT_FALSE(leaver.attached());
    EXPECT_EQ(pair.client.session.open_streams(), 0u);
    EXPECT_EQ(pair.server.session.open_streams(), 0u);
    EXPECT_THAT(pair.Open().headers.size(), GetParam() == "headers" && on_server ? 0u : 1u);
  }
}

INSTANTIATE_TEST_SUITE_P(Callbacks, AbandonTest,
                         ::testing::Values("headers", "data", "end", "pull"));

TEST(Http2SessionTest, StreamMayMoveToAnotherSessionWhenItIsRefused) {
  Http2Pair other;
  Http2Pair full;
  full.server.refuse_with = 503;
  other.Pump();
  TestStream& near = full.Start();
  near.on_headers = [&](TestStream& s) {
    if (s.headers.back() == 200) return;
    s.session()->Abandon(&s, NGHTTP2_CANCEL);
    s.pulled = 0;
    other.Connect(s);
  };
  near.source = "question";
  full.Pump();
  other.Pump();
  EXPECT_THAT(near.headers, ElementsAre(503, 200));
  EXPECT_EQ(near.ends, 0) << "the end of the refused stream is not the end of the new one";
  EXPECT_EQ(other.far().received, "question");
  EXPECT_EQ(full.client.session.open_streams(), 0u);
  other.client.session.CloseAll(NGHTTP2_NO_ERROR);
}

TEST(Http2SessionTest, StreamSettingsReachThePeer) {
  Http2Pair pair(/*max_streams=*/7);
  pair.Pump();
  EXPECT_THAT(pair.client.settings, ElementsAre(7u));
}

TEST(Http2SessionTest, StreamsBeyondTheServersLimitWaitForRoom) {
  Http2Pair pair(/*max_streams=*/2);
  TestStream& a = pair.Open();
  pair.Open();
  TestStream& c = pair.Open();
  EXPECT_THAT(c.headers, IsEmpty());
  EXPECT_EQ(pair.server.accepted.size(), 2u);
  pair.client.session.Abandon(&a, NGHTTP2_CANCEL);
  pair.Pump();
  EXPECT_THAT(c.headers, ElementsAre(200));
}

TEST(Http2SessionTest, PingIsAnswered) {
  Http2Pair pair;
  pair.Pump();
  pair.client.session.Ping();
  const size_t before = pair.to_client.size();
  pair.Pump();
  EXPECT_EQ(CountFrames(pair.to_client.substr(before), NGHTTP2_PING), 1u);
}

TEST(Http2SessionTest, ProtocolErrorSendsGoAwayAndIsRecorded) {
  Http2Pair pair;
  TestStream& near = pair.Open();
  EXPECT_EQ(pair.server.session.peer_error(), 0u);
  // DATA on stream 0.
  pair.server.Give(std::string("\x00\x00\x01\x00\x00\x00\x00\x00\x00x", 10)).IgnoreError();
  const std::vector<Frame> local_reply = ParseFrames(pair.server.TakeOutput());
  ASSERT_FALSE(local_reply.empty());
  EXPECT_EQ(local_reply.back().type, NGHTTP2_GOAWAY);
  EXPECT_EQ(pair.server.session.peer_error(), static_cast<uint32_t>(NGHTTP2_PROTOCOL_ERROR));
  EXPECT_TRUE(near.attached());
}

TEST(Http2SessionTest, IdsAreNearlySpentAfterTheLastUsableId) {
  test::Http2Client client({.last_stream_id = 3});
  TestStream first;
  TestStream second;
  ASSERT_TRUE(client.session.Connect("db:1", &first).ok());
  EXPECT_FALSE(client.session.IdsNearlySpent()) << "3 is still free";
  ASSERT_TRUE(client.session.Connect("db:1", &second).ok());
  EXPECT_TRUE(client.session.IdsNearlySpent());
  client.session.CloseAll(NGHTTP2_NO_ERROR);
}

}  // namespace
}  // namespace trunkline
