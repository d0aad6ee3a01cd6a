#include "common/trunk/trunk_connection.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "common/net/socket.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/common/trunk/trunk_sides.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Frame;
using test::ParseFrames;
using test::Peer;
using test::TcpPair;
using test::TestStream;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const char kSettings[] = "\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const char kPingAck[] = "\x00\x00\x08\x06\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
// HEADERS of stream 1 with ":status: 200" from the static table.
const char kAnswer200[] = "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88";

template <size_t kSize>
std::string Bytes(const char (&literal)[kSize]) {
  return std::string(literal, kSize - 1);
}

std::string DataFrame(const std::string& payload) {
  const auto byte = [&](int shift) { return static_cast<char>(payload.size() >> shift); };
  return std::string{byte(16), byte(8), byte(0), 0, 0, 0, 0, 0, 1} + payload;
}

class TrunkConnectionTest : public test::TrunkSidesTest {
 protected:
  void StartBoth(const TrunkConnection::Options& client = {},
                 const TrunkConnection::Options& server = {}) {
    Join(client, server);
    ASSERT_TRUE(RunUntil([&] { return client_.up() && server_.up(); }));
  }

  // A client trunk whose other end is the test itself.
  void StartWithRawServer(const TrunkConnection::Options& options = {}) {
    auto [fd, peer] = TcpPair();
    raw_ = std::move(peer);
    client_.Start(std::move(fd), options);
  }

  Peer raw_;
};

TEST_F(TrunkConnectionTest, IsUsableAfterThePeersSettings) {
  StartWithRawServer();
  loop_.RunOnce(absl::ZeroDuration());
  EXPECT_FALSE(client_.trunk->usable());
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->usable(); }));
  EXPECT_THAT(client_.log, ElementsAre("up"));
}

TEST_F(TrunkConnectionTest, CarriesStreamsBothWays) {
  StartBoth();
  TestStream& near = Open();
  near.source = "question";
  near.finish = true;
  ASSERT_TRUE(
      RunUntil([&] { return !server_.accepted.empty() && server_.accepted[0]->ends == 1; }));
  EXPECT_EQ(server_.accepted[0]->received, "question");
  server_.accepted[0]->Send("answer", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !near.closes.empty(); }));
  EXPECT_EQ(near.received, "answer");
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
}

TEST_F(TrunkConnectionTest, SilentPeerTimesOutBeforeTheHandshakeCompletes) {
  StartWithRawServer({.up_timeout = absl::Milliseconds(30)});
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(client_.lost_why)) << client_.lost_why;
  EXPECT_THAT(client_.log, ElementsAre("lost")) << "it was never up";
}

TEST_F(TrunkConnectionTest, SilentPeerIsPingedThenSuspectedThenLost) {
  StartWithRawServer(
      {.ping_after = absl::Milliseconds(30), .ping_timeout = absl::Milliseconds(30)});
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  TestStream& near = Open();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(client_.log, ElementsAre("up", "unusable", "lost"));
  EXPECT_EQ(client_.counters.ping_timeouts.Value(), 1u);
  EXPECT_THAT(near.closes, ElementsAre(TrunkConnection::kLostCode));
  const std::vector<Frame> said = ParseFrames(raw_.ReadToEnd());
  EXPECT_TRUE(std::any_of(said.begin(), said.end(),
                          [](const Frame& frame) { return frame.type == NGHTTP2_PING; }));
}

TEST_F(TrunkConnectionTest, SuspectedPeerThatSendsIsUsableAgain) {
  StartWithRawServer({.ping_after = absl::Milliseconds(30), .ping_timeout = absl::Seconds(20)});
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 2; }));
  EXPECT_FALSE(client_.trunk->usable());
  ASSERT_TRUE(raw_.Send(Bytes(kPingAck)));
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 3; }));
  EXPECT_THAT(client_.log, ElementsAre("up", "unusable", "usable"));
}

// Both arrive in one event, which does not come again.
TEST_F(TrunkConnectionTest, FinBehindTheLastBytesIsNoticedAtOnce) {
  StartWithRawServer({.ping_after = absl::Minutes(1)});
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  ASSERT_TRUE(raw_.Send(Bytes(kPingAck)));
  raw_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_FALSE(client_.lost_why.ok());
}

// Each received byte restarts the timer for silence.
TEST_F(TrunkConnectionTest, AnsweredPingDoesNotDelayTheNextOne) {
  StartWithRawServer({.ping_after = absl::Milliseconds(30), .ping_timeout = absl::Minutes(1)});
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  for (size_t told = 2; told <= 6; told += 2) {
    ASSERT_TRUE(RunUntil([&] { return client_.log.size() == told; })) << "suspected";
    ASSERT_TRUE(raw_.Send(Bytes(kPingAck)));
    ASSERT_TRUE(RunUntil([&] { return client_.log.size() == told + 1; })) << "usable";
  }
}

TEST_F(TrunkConnectionTest, IdleTrunkWithAnsweredPingsStaysUp) {
  StartBoth({.ping_after = absl::Milliseconds(20), .ping_timeout = absl::Seconds(20)});
  const uint64_t reads = client_.counters.reads.Value();
  ASSERT_TRUE(RunUntil([&] { return client_.counters.reads.Value() >= reads + 5; }));
  EXPECT_FALSE(client_.lost);
  EXPECT_EQ(client_.counters.ping_timeouts.Value(), 0u);
}

TEST_F(TrunkConnectionTest, FullTrunkNotifiesItsOwnerWhenFullAndWhenRoomReturns) {
  StartBoth({}, {.session = {.max_streams = 2}});
  TestStream& first = Open();
  Open();
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 2; }));
  EXPECT_THAT(client_.log, ElementsAre("up", "unusable"));
  client_.trunk->session().Abandon(&first, NGHTTP2_CANCEL);
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 3; }));
  EXPECT_EQ(client_.log.back(), "usable");
}

// A peer that refuses streams below its announced limit would otherwise get them again at once.
TEST_F(TrunkConnectionTest, TrunkWhosePeerRefusedAStreamIsUnusableForAWhile) {
  StartBoth();
  Open();
  ASSERT_TRUE(RunUntil([&] { return server_.accepted.size() == 1; }));
  TestStream& refused = Open();
  ASSERT_TRUE(RunUntil([&] { return server_.accepted.size() == 2; }));
  server_.accepted.back()->session()->Abandon(server_.accepted.back().get(),
                                              NGHTTP2_REFUSED_STREAM);
  bool usable_when_told = true;
  refused.on_closed = [&](TestStream&) { usable_when_told = client_.trunk->usable(); };
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 2; }));
  EXPECT_FALSE(usable_when_told);
  EXPECT_EQ(client_.trunk->session().open_streams(), 1u);
  ASSERT_TRUE(RunUntil([&] { return client_.log.size() == 3; }));
  EXPECT_THAT(client_.log, ElementsAre("up", "unusable", "usable"));
}

TEST_F(TrunkConnectionTest, RefusedDialIsLostWithTheSystemsErrorText) {
  const test::RefusingPort port;
  ConnectResult dial = ConnectTo(ResolveAddress(port.address()).value());
  ASSERT_EQ(dial.state, ConnectState::kInProgress);
  client_.Start(std::move(dial.fd), {});
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(std::string(client_.lost_why.message()),
              AllOf(HasSubstr("refused"), Not(HasSubstr("mode:"))));
}

TEST_F(TrunkConnectionTest, ServerInPlaceOfAnAgentIsRecognized) {
  for (const std::string words :
       {"-ERR unknown command\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail\r\n", "?"}) {
    StartWithRawServer();
    ASSERT_TRUE(raw_.Send(words));
    raw_.ShutdownWrite();
    ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
    EXPECT_THAT(std::string(client_.lost_why.message()),
                AllOf(HasSubstr("no agent"), HasSubstr(absl::CHexEscape(words.substr(0, 24))),
                      HasSubstr("mode: direct")));
    client_.lost = false;
  }
}

// PostgreSQL, Kafka and Modbus close or wait; only servers of some protocols answer with bytes.
TEST_F(TrunkConnectionTest, ServerThatSendsNothingInPlaceOfAnAgentIsRecognized) {
  struct Case {
    std::string words;
    std::function<void()> end;
  };
  const Case cases[] = {{"the peer closed it", [&] { raw_.ShutdownWrite(); }},
                        {"reset", [&] { raw_.Reset(); }},
                        {"no HTTP/2 answer within 30ms", [] {}}};
  for (const Case& server : cases) {
    SCOPED_TRACE(server.words);
    StartWithRawServer({.up_timeout = absl::Milliseconds(30)});
    loop_.RunOnce(absl::ZeroDuration());
    server.end();
    ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
    EXPECT_THAT(std::string(client_.lost_why.message()),
                AllOf(HasSubstr(server.words), HasSubstr("and sent nothing"),
                      HasSubstr("If it is the server itself, set mode: direct"),
                      HasSubstr("mode: tunnel, the default, needs an agent")));
    client_.lost = false;
  }
}

// A listener whose accept queue is full swallows connects.
TEST_F(TrunkConnectionTest, HostThatAcceptsNoConnectIsNotTakenForAServer) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  const SocketAddress where =
      ResolveAddress(
          {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener.get()))})
          .value();
  std::vector<ConnectResult> fillers;
  for (int i = 0; i < 4; ++i) fillers.push_back(ConnectTo(where));
  ConnectResult dial = ConnectTo(where);
  ASSERT_EQ(dial.state, ConnectState::kInProgress);
  client_.Start(std::move(dial.fd), {.up_timeout = absl::Milliseconds(30)});
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(std::string(client_.lost_why.message()), Not(HasSubstr("mode:")));
}

TEST_F(TrunkConnectionTest, BrokenAgentIsNotTakenForAServer) {
  StartWithRawServer();
  ASSERT_TRUE(raw_.Send(Bytes(kSettings).substr(0, 5)));
  raw_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(std::string(client_.lost_why.message()), Not(HasSubstr("no agent")));
}

TEST_F(TrunkConnectionTest, StreamsAreClosedBeforeTheOwnerLearnsOfTheLoss) {
  StartWithRawServer();
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  TestStream& near = Open();
  near.on_closed = [&](TestStream&) { client_.log.push_back("stream closed"); };
  raw_.Reset();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(client_.log, ElementsAre("up", "stream closed", "lost"));
  EXPECT_FALSE(client_.lost_why.ok());
}

TEST_F(TrunkConnectionTest, BytesBeforeAResetAreDelivered) {
  StartWithRawServer();
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  TestStream& near = Open();
  loop_.RunOnce(absl::ZeroDuration());
  ASSERT_TRUE(raw_.Send(Bytes(kAnswer200) + DataFrame("last words")));
  raw_.Reset();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_EQ(near.received, "last words");
}

TEST_F(TrunkConnectionTest, ProtocolErrorSendsGoAwayIsCountedAndLosesTheTrunk) {
  StartWithRawServer();
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  TestStream& near = Open();
  std::string on_stream_zero = DataFrame("x");
  on_stream_zero[8] = 0;
  ASSERT_TRUE(raw_.Send(on_stream_zero));
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_TRUE(absl::IsInvalidArgument(client_.lost_why)) << client_.lost_why;
  EXPECT_EQ(client_.counters.protocol_errors.Value(), 1u);
  EXPECT_EQ(near.closes.size(), 1u);
  const std::vector<Frame> said = ParseFrames(raw_.ReadToEnd());
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said.back().type, NGHTTP2_GOAWAY);
}

TEST_F(TrunkConnectionTest, PeerWithoutHttp2IsCountedAndLost) {
  auto [fd, peer] = TcpPair();
  server_.Start(std::move(fd), {.role = Role::kServer});
  ASSERT_TRUE(peer.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
  EXPECT_EQ(server_.counters.protocol_errors.Value(), 1u);
}

TEST_F(TrunkConnectionTest, DrainedServerFinishesWithItsLastStream) {
  StartBoth();
  TestStream& near = Open();
  ASSERT_TRUE(RunUntil([&] { return !near.headers.empty(); }));
  server_.trunk->Drain();
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->draining(); }));
  EXPECT_FALSE(client_.trunk->usable());
  near.Send("still", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return server_.accepted[0]->ends == 1; }));
  server_.accepted[0]->Send("here", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return client_.lost && server_.lost; }));
  EXPECT_EQ(near.received, "here");
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
  EXPECT_TRUE(client_.lost_why.ok()) << client_.lost_why;
  EXPECT_TRUE(server_.lost_why.ok()) << server_.lost_why;
}

TEST_F(TrunkConnectionTest, DrainedClientFinishesWithItsLastStream) {
  StartBoth();
  TestStream& near = Open();
  ASSERT_TRUE(RunUntil([&] { return !near.headers.empty(); }));
  client_.trunk->Drain();
  near.Send("bye", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return server_.accepted[0]->ends == 1; }));
  EXPECT_FALSE(client_.lost);
  server_.accepted[0]->Send("bye", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return client_.lost && server_.lost; }));
  EXPECT_EQ(near.received, "bye");
  EXPECT_TRUE(client_.lost_why.ok()) << client_.lost_why;
}

TEST_F(TrunkConnectionTest, FinishedTrunkClosesWithoutThePeersFin) {
  StartWithRawServer();
  ASSERT_TRUE(raw_.Send(Bytes(kSettings)));
  ASSERT_TRUE(RunUntil([&] { return client_.trunk->up(); }));
  client_.trunk->Drain();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_TRUE(client_.lost_why.ok());
}

// The peer reads late, and sends once more at the moment in which the trunk has finished. Closing
// with those bytes unread would be a reset, and the kernel would drop the bytes that the peer has
// not read yet.
TEST_F(TrunkConnectionTest, LastBytesSurviveTheCloseOfADrainedTrunk) {
  auto pair = TcpPair(/*peers_receive_buffer=*/4096);
  Peer& peer = pair.second;
  server_.Start(std::move(pair.first), {.role = Role::kServer});
  test::Http2Client client;
  TestStream near;
  near.finish = true;
  ASSERT_TRUE(client.session.Connect("db:1", &near).ok());
  ASSERT_TRUE(peer.Send(client.TakeOutput()));
  ASSERT_TRUE(
      RunUntil([&] { return !server_.accepted.empty() && server_.accepted[0]->ends == 1; }));
  TestStream& far = *server_.accepted[0];
  bool closed = false;
  far.on_closed = [&](TestStream&) {
    closed = true;
    client.session.Ping();
    EXPECT_TRUE(peer.Send(client.TakeOutput()));
  };
  server_.trunk->Drain();
  server_.trunk->session().GoAway(NGHTTP2_NO_ERROR);
  const std::string tail(40'000, 't');
  far.Send(tail, /*last=*/true);
  ASSERT_TRUE(
      RunUntil([&] { return closed && (server_.lost || server_.trunk->unsent_bytes() == 0); }));
  loop_.RunOnce(absl::ZeroDuration());
  const std::string all = peer.ReadToEnd();
  EXPECT_EQ(peer.ending(), Ending::kFin);
  ASSERT_TRUE(client.Give(all).ok());
  EXPECT_EQ(near.received, tail);
  client.session.CloseAll(NGHTTP2_NO_ERROR);
}

TEST_F(TrunkConnectionTest, UnwatchableSocketLosesTheTrunkWithItsReason) {
  // epoll watches no regular files.
  client_.Start(UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), {.role = Role::kClient});
  EXPECT_FALSE(client_.lost) << "the owner does not have the trunk yet";
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(std::string(client_.lost_why.message()), testing::HasSubstr("epoll cannot watch"));
}

}  // namespace
}  // namespace trunkline
