// nghttp2 runs out of memory at any point: the session fails with the reason, its streams are
// closed once, and nothing crashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/http2/http2_session.h"
#include "tests/common/http2/http2_pair.h"

namespace trunkline {
namespace {

using test::Http2Client;
using test::Http2Server;
using test::TestStream;

// Allocates until a limit that a test sets.
class LimitedMemory {
 public:
  nghttp2_mem* mem() { return &mem_; }
  void Limit(int allocations) { left_ = allocations; }
  bool exhausted() const { return exhausted_; }

 private:
  static LimitedMemory& Self(void* user_data) { return *static_cast<LimitedMemory*>(user_data); }
  bool Take() {
    if (left_-- > 0) return true;
    exhausted_ = true;
    return false;
  }
  static void* Malloc(size_t size, void* self) {
    return Self(self).Take() ? std::malloc(size) : nullptr;
  }
  static void Free(void* memory, void*) { std::free(memory); }
  static void* Calloc(size_t count, size_t size, void* self) {
    return Self(self).Take() ? std::calloc(count, size) : nullptr;
  }
  static void* Realloc(void* memory, size_t size, void* self) {
    return Self(self).Take() ? std::realloc(memory, size) : nullptr;
  }

  int left_ = 1'000'000'000;
  bool exhausted_ = false;
  nghttp2_mem mem_ = {this, Malloc, Free, Calloc, Realloc};
};

// Opens streams, moves data, refuses one, pings, drains; either end may fail on the way.
class Conversation {
 public:
  Conversation(nghttp2_mem* client_memory, nghttp2_mem* server_memory)
      : client({.memory = client_memory}), server({.memory = server_memory}) {}
  ~Conversation() {
    client.session.CloseAll(NGHTTP2_INTERNAL_ERROR);
    server.session.CloseAll(NGHTTP2_INTERNAL_ERROR);
  }

  void Run() {
    for (int i = 0; i < 4; ++i) {
      TestStream& stream = streams_.emplace_back();
      if (!client.session.Connect("db:1", &stream, {.client = "c", .proxy_protocol = "p"}).ok()) {
        continue;
      }
      ++opened;
      stream.source = std::string(40'000, 'x');
    }
    TestStream& get = streams_.emplace_back();
    if (client.session.Get(server.known_path, &get).ok()) ++opened;
    Pump();
    server.refuse_with = 503;
    TestStream& refused = streams_.emplace_back();
    if (client.session.Connect("db:2", &refused).ok()) ++opened;
    client.session.Ping();
    for (const auto& stream : server.accepted) {
      if (stream->attached()) stream->Send("reply", /*last=*/true);
    }
    Pump();
    if (streams_.front().attached()) client.session.Abandon(&streams_.front(), NGHTTP2_CANCEL);
    server.session.AnnounceShutdown();
    Pump();
    server.session.GoAway(NGHTTP2_NO_ERROR);
    client.session.GoAway(NGHTTP2_NO_ERROR);
    Pump();
  }

  Http2Client client;
  Http2Server server;
  size_t opened = 0;

  size_t Closed() const {
    size_t closed = 0;
    for (const TestStream& stream : streams_) {
      EXPECT_LE(stream.closes.size(), 1u);
      EXPECT_FALSE(stream.attached());
      closed += stream.closes.size();
    }
    return closed;
  }

 private:
  // Runs until neither end has output, or one failed.
  void Pump() {
    while (client.session.status().ok() && server.session.status().ok()) {
      const std::string up = client.TakeOutput();
      if (!server.Give(up).ok()) return;
      const std::string down = server.TakeOutput();
      if (!client.Give(down).ok() || (up.empty() && down.empty())) return;
    }
  }

  std::deque<TestStream> streams_;
};

// Fails every allocation from the n-th on, for each n until none fails.
void FailAtEachAllocation(bool at_client) {
  int limit = 0;
  while (true) {
    LimitedMemory memory;
    {
      Conversation talk(at_client ? memory.mem() : nullptr, at_client ? nullptr : memory.mem());
      Http2Session& session = at_client ? talk.client.base() : talk.server.base();
      memory.Limit(limit);
      talk.Run();
      if (!memory.exhausted()) break;
      EXPECT_TRUE(absl::IsResourceExhausted(session.status())) << limit << session.status();
      // A failed session does nothing more.
      EXPECT_FALSE(session.Produce(1 << 20));
      EXPECT_EQ(session.Receive(nullptr, 0, MonotonicTime()), session.status());
      talk.client.session.CloseAll(NGHTTP2_INTERNAL_ERROR);
      talk.server.session.CloseAll(NGHTTP2_INTERNAL_ERROR);
      EXPECT_LE(talk.Closed(), talk.opened);
    }
    ++limit;
    ASSERT_LT(limit, 10'000) << "a conversation of a few streams does not need as many";
  }
  EXPECT_GT(limit, 20) << "the conversation should allocate";
}

TEST(Http2MemoryTest, ClientSessionFailsCleanlyAtEachFailedAllocation) {
  FailAtEachAllocation(/*at_client=*/true);
}

TEST(Http2MemoryTest, ServerSessionFailsCleanlyAtEachFailedAllocation) {
  FailAtEachAllocation(/*at_client=*/false);
}

}  // namespace
}  // namespace trunkline
