// Hostile bytes against a session: a recorded conversation, cut, flipped and spliced by a seeded
// generator. There must be no crash and no callback after OnClosed, which every accepted stream
// gets at most once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/http2/http2_session.h"
#include "tests/common/http2/http2_pair.h"

namespace trunkline {
namespace {

using test::Http2Client;
using test::Http2End;
using test::Http2Pair;
using test::Http2Server;
using test::TestStream;

struct Conversation {
  std::string to_server;
  std::string to_client;
};

// Opens, data both ways, half-closes, resets, refusals, pings and a GOAWAY.
Conversation Record() {
  Http2Pair pair;
  TestStream& first = pair.Open("db:5432");
  first.Send(std::string(5000, 'a'), /*last=*/true);
  pair.Pump();
  pair.far().Send("answer", /*last=*/true);
  pair.Pump();
  TestStream& second = pair.Open("cache:6379");
  second.Send(std::string(40'000, 'b'));
  pair.Pump();
  second.Abort();
  pair.Pump();
  pair.server.refuse_with = 503;
  pair.Open("gone:1");
  pair.server.refuse_with = 0;
  pair.Open("last:1");
  pair.far().Abort();
  pair.client.session.Ping();
  pair.Pump();
  pair.server.session.GoAway(NGHTTP2_NO_ERROR);
  pair.Pump();
  return {.to_server = pair.to_server, .to_client = pair.to_client};
}

std::string Mutate(std::string bytes, FastRandom& random) {
  const auto place = [&] { return bytes.empty() ? 0 : random.Next() % bytes.size(); };
  const uint64_t edits = 1 + random.Next() % 8;
  for (uint64_t i = 0; i < edits; ++i) {
    switch (random.Next() % 5) {
      case 0:  // truncated
        bytes.resize(place());
        break;
      case 1:  // a byte flipped
        if (!bytes.empty()) bytes[place()] ^= static_cast<char>(1 << random.Next() % 8);
        break;
      case 2: {  // a repeated piece
        const std::string piece = bytes.substr(place(), random.Next() % 60);
        bytes.insert(place(), piece);
        break;
      }
      case 3:  // a missing piece
        bytes.erase(place(), random.Next() % 30);
        break;
      case 4: {  // garbage
        std::string piece(random.Next() % 40, '\0');
        for (char& c : piece) c = static_cast<char>(random.Next());
        bytes.insert(place(), piece);
        break;
      }
    }
  }
  return bytes;
}

// Feeds bytes in pieces of random size and takes output in between, as a socket would.
void Feed(Http2End& end, const std::string& bytes, FastRandom& random) {
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = std::min<size_t>(1 + random.Next() % 3000, bytes.size() - at);
    if (!end.Give(bytes.substr(at, size)).ok()) break;
    at += size;
    end.TakeOutput(64 * 1024);
    if (!end.accepted.empty() && end.accepted.back()->attached() && random.Next() % 4 == 0) {
      end.accepted.back()->Send("reply", random.Next() % 2 == 0);
    }
  }
  end.TakeOutput();
  EXPECT_LT(end.base().open_streams(), 1000u) << "the count went below zero";
  end.base().CloseAll(NGHTTP2_INTERNAL_ERROR);
  for (const auto& stream : end.accepted) EXPECT_LE(stream->closes.size(), 1u);
}

constexpr uint64_t kRuns = 3000;

TEST(Http2FuzzTest, ServerSurvivesMutatedConversations) {
  const std::string good = Record().to_server;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    Http2Server server({.max_streams = 10});
    server.prepare = [&](TestStream& stream) {
      stream.consume = random.Next() % 2 == 0;
      stream.on_headers = [&](TestStream& s) { s.Respond(random.Next() % 4 == 0 ? 503 : 200); };
    };
    Feed(server, Mutate(good, random), random);
  }
}

TEST(Http2FuzzTest, ClientSurvivesMutatedConversations) {
  const std::string good = Record().to_client;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    std::vector<TestStream> streams(5);
    Http2Client client;
    for (TestStream& stream : streams) {
      stream.source = std::string(random.Next() % 100'000, 'x');
      ASSERT_TRUE(client.session.Connect("db:1", &stream).ok());
    }
    client.TakeOutput();
    Feed(client, Mutate(good, random), random);
    for (const TestStream& stream : streams) EXPECT_EQ(stream.closes.size(), 1u);
  }
}

TEST(Http2FuzzTest, NoiseIsRefused) {
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    FastRandom random(seed);
    std::string noise(1 + random.Next() % 500, '\0');
    for (char& c : noise) c = static_cast<char>(random.Next());
    Http2Server server;
    EXPECT_FALSE(server.Give(noise).ok()) << "seed " << seed << ": it has no preface";
    EXPECT_TRUE(server.accepted.empty());
  }
}

}  // namespace
}  // namespace trunkline
