// A peer that floods a session with frames that carry nothing gets ENHANCE_YOUR_CALM; a busy peer
// does not. A protocol error on one stream ends that stream only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/http2/http2_session.h"
#include "tests/common/http2/http2_pair.h"

namespace trunkline {
namespace {

using test::Frame;
using test::Http2Client;
using test::Http2Pair;
using test::Http2Server;
using test::ParseFrames;
using test::RawFrame;
using test::TestStream;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint8_t kNoFlags = 0;
constexpr uint8_t kEndHeaders = NGHTTP2_FLAG_END_HEADERS;
constexpr uint8_t kEndBoth = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM;
constexpr int kEmptyFrameBurst = 10'000;
constexpr int kEmptyFramesPerSecond = 1'000;
constexpr int kMaxQueuedFrames = 10'000;
constexpr size_t kHeaderListLimit = 8 * 1024;

// A header field as HPACK's literal without an index; both parts shorter than 127 bytes.
std::string Field(const std::string& name, const std::string& value) {
  const auto text = [](const std::string& s) {
    return std::string(1, static_cast<char>(s.size())) + s;
  };
  return std::string(1, '\0') + text(name) + text(value);
}

std::string ConnectBlock() { return Field(":method", "CONNECT") + Field(":authority", "db:5432"); }

std::string Ping() { return RawFrame(NGHTTP2_PING, kNoFlags, 0, std::string(8, 'p')); }

std::string Repeat(const std::string& bytes, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += bytes;
  return all;
}

// The codes of the RST_STREAMs of a stream in `bytes`.
std::vector<uint32_t> ResetsOf(int32_t stream, const std::string& bytes) {
  std::vector<uint32_t> codes;
  for (const Frame& frame : ParseFrames(bytes)) {
    if (frame.type == NGHTTP2_RST_STREAM && frame.stream == stream) {
      codes.push_back(static_cast<uint8_t>(frame.payload.back()));
    }
  }
  return codes;
}

// Streams of a server session whose client is the test.
class Http2AbuseTest : public ::testing::Test {
 protected:
  Http2AbuseTest() { pair_.Pump(); }

  // Sends frames one by one and reads the server's output after each. Returns false if the server
  // ended the session.
  bool GiveInPieces(const std::string& piece, int times) {
    constexpr int kTogether = 500;
    for (int given = 0; given < times; given += kTogether) {
      if (!server().Give(Repeat(piece, std::min(kTogether, times - given))).ok()) return false;
      server().TakeOutput();
      if (server().session.peer_error() != 0) return false;
    }
    return true;
  }
  Http2Server& server() { return pair_.server; }

  Http2Pair pair_;
};

struct Flood {
  std::string name;
  std::string frame;
};

class FloodTest : public Http2AbuseTest, public ::testing::WithParamInterface<Flood> {
 protected:
  FloodTest() { pair_.Open(); }
};

TEST_P(FloodTest, BurstBeyondTheLimitEndsInEnhanceYourCalm) {
  EXPECT_FALSE(GiveInPieces(GetParam().frame, kEmptyFrameBurst + 1));
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
}

TEST_P(FloodTest, ManyFramesBelowTheLimitAreAccepted) {
  for (int second = 0; second < 60; ++second) {
    server().now = server().now + absl::Seconds(1);
    ASSERT_TRUE(GiveInPieces(GetParam().frame, kEmptyFramesPerSecond)) << "second " << second;
  }
  EXPECT_EQ(server().session.peer_error(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, FloodTest,
                         ::testing::Values(Flood{"Ping", Ping()},
                                           Flood{"Settings", RawFrame(NGHTTP2_SETTINGS, 0, 0)},
                                           Flood{"EmptyData", RawFrame(NGHTTP2_DATA, kNoFlags, 1)},
                                           Flood{"Priority", RawFrame(NGHTTP2_PRIORITY, kNoFlags, 1,
                                                                      std::string(5, '\0'))}),
                         [](const auto& info) { return info.param.name; });

// Every short client of a busy proxy sends its FIN after its bytes.
TEST_F(Http2AbuseTest, EmptyFinalFramesAreNoFlood) {
  for (int i = 0; i < 2 * kEmptyFrameBurst; ++i) {
    TestStream& stream = pair_.Open();
    TestStream& far = pair_.far();
    stream.Send("", /*last=*/true);
    far.Send("", /*last=*/true);
    pair_.Pump();
    ASSERT_EQ(stream.closes.size(), 1u) << "stream " << i;
  }
  EXPECT_EQ(server().session.peer_error(), 0u);
  EXPECT_EQ(pair_.client.session.peer_error(), 0u);
}

TEST_F(Http2AbuseTest, PingsToAPeerThatDoesNotReadEndInEnhanceYourCalm) {
  EXPECT_FALSE(server().Give(Repeat(Ping(), 3000)).ok());
  server().TakeOutput();
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
}

TEST_F(Http2AbuseTest, HeaderBlockOfEndlessContinuationsEndsInEnhanceYourCalm) {
  absl::Status status = server().Give(RawFrame(NGHTTP2_HEADERS, kNoFlags, 1, ConnectBlock()));
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = server().Give(RawFrame(NGHTTP2_CONTINUATION, kNoFlags, 1, Field("a", "b")));
  }
  EXPECT_FALSE(status.ok());
  server().TakeOutput();
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  EXPECT_THAT(server().authorities, IsEmpty());
}

// A peer that has not acknowledged the SETTINGS may not know the limit, so each stream above it is
// reset.
TEST(Http2AbuseFreshTest, PendingResetsForAPeerThatDoesNotReadAreBounded) {
  Http2Server server({.max_streams = 10});
  ASSERT_TRUE(
      server.Give("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + RawFrame(NGHTTP2_SETTINGS, 0, 0)).ok());
  absl::Status status;
  int32_t id = 1;
  for (; id < 200'000 && status.ok(); id += 2) {
    status = server.Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, id, ConnectBlock()));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_LT(id, 2 * (kMaxQueuedFrames + 20));
  server.TakeOutput();
  EXPECT_EQ(server.session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  server.session.CloseAll(NGHTTP2_NO_ERROR);
}

// Streams with an immediate protocol error make the server send RST_STREAM; the peer sends none.
TEST_F(Http2AbuseTest, ManyStreamProtocolErrorsEndInEnhanceYourCalm) {
  int32_t id = 1;
  for (; id < 100'000 && server().session.peer_error() == 0; id += 2) {
    if (!server()
             .Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, id, Field(":method", "CONNECT")))
             .ok())
      break;
    server().TakeOutput();
  }
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  EXPECT_GE(id, 2 * kEmptyFrameBurst - 1);
  EXPECT_EQ(server().session.open_streams(), 0u);
}

// Each push is refused singly while the peer may not know that push is disabled.
TEST(Http2AbuseFreshTest, EndlessPushesEndInEnhanceYourCalm) {
  Http2Client client;
  TestStream stream;
  ASSERT_TRUE(client.session.Connect("db:1", &stream).ok());
  client.TakeOutput();
  ASSERT_TRUE(client.Give(RawFrame(NGHTTP2_SETTINGS, kNoFlags, 0)).ok());
  int32_t id = 2;
  for (; id < 100'000 && client.session.peer_error() == 0; id += 2) {
    const std::string promised = RawFrame(0, 0, id).substr(5);
    ASSERT_TRUE(
        client.Give(RawFrame(NGHTTP2_PUSH_PROMISE, kEndHeaders, 1, promised + ConnectBlock()))
            .ok());
    client.TakeOutput();
  }
  EXPECT_GT(id, kEmptyFrameBurst);
  EXPECT_EQ(client.session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  client.session.CloseAll(NGHTTP2_INTERNAL_ERROR);
}

// Each request costs a connect, so other connections of the loop get their turn in between.
TEST_F(Http2AbuseTest, StreamsOfOneReadAreAcceptedInBatches) {
  constexpr size_t kAtATime = 4;
  constexpr int32_t kStreams = 100;
  std::string read;
  for (int32_t i = 0; i < kStreams; ++i) {
    read += RawFrame(NGHTTP2_HEADERS, kEndHeaders, 2 * i + 1, ConnectBlock()) +
            RawFrame(NGHTTP2_DATA, kEndBoth & ~kEndHeaders, 2 * i + 1, std::to_string(i));
  }
  Http2Session& session = server().session;
  const auto* bytes = reinterpret_cast<const uint8_t*>(read.data());
  ASSERT_TRUE(session.Receive(bytes, read.size(), server().now).ok());
  size_t before = 0;
  while (session.has_unread()) {
    EXPECT_LE(server().accepted.size() - before, kAtATime);
    before = server().accepted.size();
    ASSERT_TRUE(session.Receive(nullptr, 0, server().now).ok());
  }
  ASSERT_EQ(server().accepted.size(), static_cast<size_t>(kStreams));
  for (int32_t i = 0; i < kStreams; ++i)
    EXPECT_EQ(server().accepted[i]->received, std::to_string(i));
}

TEST_F(Http2AbuseTest, RapidResetsBeyondTheLimitEndInEnhanceYourCalm) {
  constexpr int kResetBurst = 50'000;
  int resets = 0;
  while (resets < 10 * kResetBurst && server().session.peer_error() == 0) {
    const int32_t id = 2 * resets + 1;
    ++resets;
    if (!server()
             .Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, id, ConnectBlock()) +
                   RawFrame(NGHTTP2_RST_STREAM, kNoFlags, id, std::string("\0\0\0\x08", 4)))
             .ok())
      break;
    server().TakeOutput();
    server().accepted.clear();
  }
  EXPECT_GE(resets, kResetBurst);
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
}

TEST_F(Http2AbuseTest, HeaderListAboveItsLimitResetsOnlyItsStream) {
  std::string block = ConnectBlock();
  while (block.size() < kHeaderListLimit) block += Field("x", std::string(100, 'v'));
  ASSERT_TRUE(server().Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, 1, block)).ok());
  EXPECT_THAT(ResetsOf(1, server().TakeOutput()), ElementsAre(NGHTTP2_ENHANCE_YOUR_CALM));
  EXPECT_THAT(server().authorities, IsEmpty());
  EXPECT_EQ(server().session.open_streams(), 0u);
  ASSERT_TRUE(server().Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, 3, ConnectBlock())).ok());
  EXPECT_THAT(server().authorities, ElementsAre("db:5432"));
}

// One entry of 3,000 bytes in HPACK's table, then a byte for each repetition: 16 KiB that stand for
// 48 MB.
TEST_F(Http2AbuseTest, HpackBombResetsOnlyItsStream) {
  std::string block = ConnectBlock();
  block += std::string("\x40\x01x\x7f\xb9\x16", 6) +
           std::string(3000, 'v');  // 127 + 0x39 + 0x16 * 128 = 3000
  block.resize(16 * 1024, '\xbe');  // index 62, the newest entry
  ASSERT_TRUE(server().Give(RawFrame(NGHTTP2_HEADERS, kEndHeaders, 1, block)).ok());
  EXPECT_THAT(ResetsOf(1, server().TakeOutput()), ElementsAre(NGHTTP2_ENHANCE_YOUR_CALM));
  EXPECT_EQ(server().session.peer_error(), 0u);
}

TEST_F(Http2AbuseTest, RequestThatHadEndedIsRefusedWithoutAReset) {
  pair_.server.refuse_with = 404;
  ASSERT_TRUE(server().Give(RawFrame(NGHTTP2_HEADERS, kEndBoth, 1, ConnectBlock())).ok());
  const std::string answer = server().TakeOutput();
  ASSERT_EQ(ParseFrames(answer).size(), 1u);
  EXPECT_EQ(ParseFrames(answer)[0].type, NGHTTP2_HEADERS);
  EXPECT_EQ(server().session.open_streams(), 0u);
}

// RFC 9113, 8.5: a connected stream carries DATA only.
TEST_F(Http2AbuseTest, TrailersFromAProxyResetOnlyTheirStream) {
  TestStream& near = pair_.Open();
  TestStream& far = pair_.far();
  const std::string trailers = Field("checksum", "1");
  ASSERT_TRUE(server().Give(RawFrame(NGHTTP2_HEADERS, kEndBoth, near.stream_id(), trailers)).ok());
  EXPECT_EQ(far.ends, 0) << "a reset stream must not report a clean end";
  EXPECT_THAT(far.closes, ElementsAre(NGHTTP2_PROTOCOL_ERROR));
  EXPECT_THAT(ResetsOf(near.stream_id(), server().TakeOutput()),
              ElementsAre(NGHTTP2_PROTOCOL_ERROR));
  EXPECT_EQ(server().session.open_streams(), 0u);
}

TEST_F(Http2AbuseTest, TrailersFromAnAgentResetOnlyTheirStream) {
  TestStream& near = pair_.Open();
  const int32_t id = near.stream_id();
  ASSERT_TRUE(
      pair_.client.Give(RawFrame(NGHTTP2_HEADERS, kEndBoth, id, Field("checksum", "1"))).ok());
  EXPECT_EQ(near.ends, 0);
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_PROTOCOL_ERROR));
  EXPECT_THAT(ResetsOf(id, pair_.client.TakeOutput()), ElementsAre(NGHTTP2_PROTOCOL_ERROR));
}

TEST_F(Http2AbuseTest, SettingsThatOverflowAWindowCloseTheTrunk) {
  pair_.Open();
  const auto number = [](uint32_t value) {
    return RawFrame(0, 0, static_cast<int32_t>(value)).substr(5);  // the 4 bytes of a stream's id
  };
  const std::string raised =
      RawFrame(NGHTTP2_SETTINGS, kNoFlags, 0, std::string("\0\x04", 2) + number(70'000));
  ASSERT_TRUE(
      server()
          .Give(RawFrame(NGHTTP2_WINDOW_UPDATE, kNoFlags, 1, number(0x7fffffff - 65'536)) + raised)
          .ok());
  server().TakeOutput();
  EXPECT_EQ(server().session.peer_error(), static_cast<uint32_t>(NGHTTP2_FLOW_CONTROL_ERROR));
}

// Data of an abandoned stream still leaves the connection's window: 16 MiB, twice.
TEST_F(Http2AbuseTest, DataOfRefusedStreamsReopensTheConnectionWindow) {
  pair_.server.refuse_with = 404;
  const std::string data(16 * 1024, 'd');
  std::string said;
  for (int32_t id = 1; id < 1000; id += 2) {
    std::string burst = RawFrame(NGHTTP2_HEADERS, kEndHeaders, id, ConnectBlock());
    for (int i = 0; i < 4; ++i) burst += RawFrame(NGHTTP2_DATA, kNoFlags, id, data);
    ASSERT_TRUE(server().Give(burst).ok());
    said += server().TakeOutput();
  }
  EXPECT_EQ(server().session.peer_error(), 0u);
  size_t given_back = 0;
  for (const Frame& frame : ParseFrames(said)) {
    if (frame.type != NGHTTP2_WINDOW_UPDATE || frame.stream != 0) continue;
    for (size_t i = 0, value = 0; i < 4; ++i) {
      value = value << 8 | static_cast<uint8_t>(frame.payload[i]);
      if (i == 3) given_back += value;
    }
  }
  EXPECT_GE(given_back, 500u * 4 * data.size() - 16 * 1024 * 1024);
}

}  // namespace
}  // namespace trunkline
