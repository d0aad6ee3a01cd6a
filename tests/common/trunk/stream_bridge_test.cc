// A bridge between a real socket and a stream of a session pair in memory: FIN and RST in both
// directions, and the cost of a stalled end.
#include "common/trunk/stream_bridge.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/event_loop.h"
#include "common/trunk/trunk_connection.h"
#include "tests/common/base/random_bytes.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Http2Pair;
using test::Peer;
using test::RandomBytes;
using test::TcpPair;
using test::TestStream;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kStreamWindow = 64 * 1024;
// Above the segment size of loopback; otherwise every read waits for a window probe.
constexpr int kReceiveBuffer = 256 * 1024;

class TestBridge final : public StreamBridge {
 public:
  TestBridge(EventLoop& loop, absl::Duration idle) : StreamBridge(loop, SocketOf::kServer, idle) {
    CountBytes(&from_socket_, &to_socket_);
  }
  using StreamBridge::AdoptSocket;
  using StreamBridge::FlushToSocket;
  using StreamBridge::socket_fd;
  using StreamBridge::unsent_bytes;

  std::vector<End> done;
  std::vector<bool> load_changes;
  uint64_t bytes_from_socket() const { return from_socket_.Value(); }
  uint64_t bytes_to_socket() const { return to_socket_.Value(); }

 private:
  Counter from_socket_;
  Counter to_socket_;
  void OnResponse(int) override {}
  void OnDone(End end) override { done.push_back(end); }
  void OnLoadChanged(bool is_load) override { load_changes.push_back(is_load); }
};

class StreamBridgeTest : public ::testing::Test {
 protected:
  // `peers_receive_buffer` 0: the kernel's default.
  void Start(absl::Duration idle = absl::Hours(1), int peers_receive_buffer = 0) {
    bridge_ = std::make_unique<TestBridge>(loop_, idle);
    auto [fd, peer] = TcpPair(peers_receive_buffer);
    peer_ = std::move(peer);
    bridge_->AdoptSocket(std::move(fd), /*try_read_now=*/true);
    ASSERT_TRUE(pair_.client.session.Connect("db:1", bridge_.get()).ok());
    pair_.Pump();
  }
  ~StreamBridgeTest() override {
    if (bridge_ != nullptr) bridge_->Abort(StreamBridge::End::kShutdown);
  }

  void Step(absl::Duration wait = absl::Milliseconds(20)) {
    pair_.Pump();
    loop_.RunOnce(wait);
    pair_.Pump();
  }
  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      Step();
    }
    return true;
  }
  [[nodiscard]] bool RunUntilDone() {
    return RunUntil([&] { return !bridge_->done.empty(); });
  }
  TestStream& far() { return pair_.far(); }

  EventLoop loop_;
  std::unique_ptr<TestBridge> bridge_;
  Peer peer_;
  Http2Pair pair_;
};

TEST_F(StreamBridgeTest, BytesTravelBothWaysAndBothFinsEndItCleanly) {
  Start();
  ASSERT_TRUE(peer_.Send("question"));
  peer_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return far().ends == 1; }));
  EXPECT_EQ(far().received, "question");
  far().Send("answer", /*last=*/true);
  ASSERT_TRUE(RunUntilDone());
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kClean));
  EXPECT_EQ(peer_.ReadToEnd(), "answer");
  EXPECT_EQ(peer_.ending(), Ending::kFin);
  EXPECT_EQ(bridge_->bytes_from_socket(), 8u);
  EXPECT_EQ(bridge_->bytes_to_socket(), 6u);
}

TEST_F(StreamBridgeTest, StreamCountsAsLoadWhileBytesPassAndAgainAfterSilence) {
  Start();
  far().Send("question");  // the socket is the server's
  Step();
  EXPECT_EQ(peer_.Read(8), "question");
  ASSERT_TRUE(peer_.Send("answer"));
  ASSERT_TRUE(RunUntil([&] { return far().received == "answer"; }));
  EXPECT_THAT(bridge_->load_changes, IsEmpty()) << "a new stream counts as load";
  ASSERT_TRUE(RunUntil([&] { return !bridge_->load_changes.empty(); }));
  ASSERT_TRUE(peer_.Send("more"));
  ASSERT_TRUE(RunUntil([&] { return bridge_->load_changes.size() == 2; }));
  EXPECT_THAT(bridge_->load_changes, ElementsAre(false, true));
}

TEST_F(StreamBridgeTest, EndOfStreamBecomesAFinAndTheOtherDirectionStaysOpen) {
  Start();
  far().Send("", /*last=*/true);
  Step();
  EXPECT_EQ(peer_.ReadToEnd(), "");
  EXPECT_EQ(peer_.ending(), Ending::kFin);
  ASSERT_TRUE(peer_.Send("still here"));
  ASSERT_TRUE(RunUntil([&] { return far().received == "still here"; }));
  EXPECT_THAT(bridge_->done, IsEmpty());
}

TEST_F(StreamBridgeTest, SocketResetBecomesConnectErrorOnTheStream) {
  Start();
  ASSERT_TRUE(peer_.Send("before"));
  peer_.Reset();
  ASSERT_TRUE(RunUntilDone());
  Step();
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kSocketReset));
  EXPECT_EQ(far().received, "before");
  EXPECT_THAT(far().closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
}

TEST_F(StreamBridgeTest, StreamResetBecomesASocketReset) {
  Start();
  far().Send("before");
  Step();
  EXPECT_EQ(peer_.Read(6), "before");
  far().Abort();
  ASSERT_TRUE(RunUntilDone());
  peer_.ReadToEnd();
  EXPECT_EQ(peer_.ending(), Ending::kReset);
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kStreamReset));
}

TEST_F(StreamBridgeTest, LostTrunkResetsTheSocketWithoutAFin) {
  Start();
  far().Send("half a rep");
  Step();
  pair_.client.session.CloseAll(TrunkConnection::kLostCode);
  EXPECT_EQ(peer_.ReadToEnd(), "half a rep");
  EXPECT_EQ(peer_.ending(), Ending::kReset);
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kStreamLost));
}

// The socket is no longer read, so only epoll can report the reset.
TEST_F(StreamBridgeTest, ResetAfterAHalfCloseIsForwardedAtOnce) {
  Start();
  peer_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return far().ends == 1; }));
  peer_.Reset();
  ASSERT_TRUE(RunUntilDone());
  Step();
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kSocketReset));
  EXPECT_THAT(far().closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
}

// Linux reports the end of file first if the FIN arrived before the reset.
TEST_F(StreamBridgeTest, FinFollowedByAResetIsAReset) {
  Start();
  ASSERT_TRUE(peer_.Send("before"));
  peer_.ShutdownWrite();
  peer_.Reset();
  ASSERT_TRUE(RunUntilDone());
  Step();
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kSocketReset));
  EXPECT_EQ(far().ends, 0);
  EXPECT_THAT(far().closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
}

TEST_F(StreamBridgeTest, ResetBehindAFullWindowEndsTheStreamOfAStalledReader) {
  Start();
  far().consume = false;
  ASSERT_TRUE(peer_.Send(std::string(3 * kStreamWindow, 'x')));
  peer_.Reset();
  ASSERT_TRUE(RunUntilDone());
  Step();
  EXPECT_THAT(far().closes, ElementsAre(NGHTTP2_CONNECT_ERROR));
}

TEST_F(StreamBridgeTest, SocketIsNotReadWithoutStreamWindow) {
  Start();
  far().consume = false;
  const std::string all = RandomBytes(40 * kStreamWindow, 1);
  size_t sent = 0;
  for (size_t before = 1; sent != before;) {
    before = sent;
    sent += peer_.SendWhatFits(all.substr(sent));
    for (int i = 0; i < 5; ++i) Step(absl::ZeroDuration());
  }
  EXPECT_EQ(far().received.size(), kStreamWindow);
  EXPECT_EQ(bridge_->bytes_from_socket(), kStreamWindow)
      << "the rest must stay in the client's kernel";
  // The reader resumes and loses nothing.
  far().consume = true;
  pair_.server.session.Consume(&far(), kStreamWindow, MonotonicTime());
  ASSERT_TRUE(RunUntil([&] { return far().received.size() == sent; }));
  EXPECT_EQ(far().received, all.substr(0, sent));
}

TEST_F(StreamBridgeTest, StalledPeerBuffersOneWindowAndGetsAllBytesLater) {
  Start(absl::Hours(1), kReceiveBuffer);
  const std::string all = RandomBytes(16'000'000, 2);
  far().Send(all, /*last=*/true);
  for (size_t before = 1; before != far().pulled;) {
    before = far().pulled;
    for (int i = 0; i < 5; ++i) Step(absl::ZeroDuration());
  }
  ASSERT_LT(far().pulled, all.size()) << "the kernel took it all: send more";
  // Bytes that left the far end are in the kernel's buffers or buffered by the bridge.
  const size_t kept = far().pulled - bridge_->bytes_to_socket();
  EXPECT_GT(kept, 0u);
  EXPECT_LE(kept, kStreamWindow);
  std::string received;
  ASSERT_TRUE(RunUntil([&] {
    received += peer_.Read(peer_.UnreadBytes());
    return received.size() == all.size();
  }));
  EXPECT_EQ(received, all);
  EXPECT_EQ(peer_.ReadToEnd(), "");
  EXPECT_EQ(peer_.ending(), Ending::kFin);
}

TEST_F(StreamBridgeTest, UnsentBytesSurviveTheCleanEndOfTheStream) {
  Start(absl::Hours(1), kReceiveBuffer);
  peer_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return far().ends == 1; }));
  // As much as fits without a WINDOW_UPDATE, then one window more: the end of the stream arrives
  // before the reader has read.
  std::string all;
  do {
    all += RandomBytes(kStreamWindow / 2, all.size());
    far().Send(all.substr(far().source.size()));
    for (int i = 0; i < 3; ++i) Step(absl::ZeroDuration());
  } while (bridge_->bytes_to_socket() == all.size());
  far().Send("", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !far().closes.empty(); }));
  EXPECT_THAT(bridge_->done, IsEmpty()) << "the stream has ended, the socket has not";
  std::string received;
  ASSERT_TRUE(RunUntil([&] {
    received += peer_.Read(peer_.UnreadBytes());
    return received.size() == all.size();
  }));
  EXPECT_EQ(received, all);
  ASSERT_TRUE(RunUntilDone());
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kClean));
  EXPECT_EQ(peer_.ReadToEnd(), "");
  EXPECT_EQ(peer_.ending(), Ending::kFin);
}

TEST_F(StreamBridgeTest, IdleTimeoutResetsTheStream) {
  Start(absl::Milliseconds(40));
  const MonotonicTime start = MonotonicNow();
  ASSERT_TRUE(RunUntilDone());
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(30));
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kTimeout));
  peer_.ReadToEnd();
  EXPECT_EQ(peer_.ending(), Ending::kReset);
  Step();
  EXPECT_THAT(far().closes, ElementsAre(NGHTTP2_CANCEL));
}

TEST_F(StreamBridgeTest, BytesRestartTheIdleTimeout) {
  const absl::Duration idle = absl::Milliseconds(300);
  Start(idle);
  const MonotonicTime start = MonotonicNow();
  MonotonicTime last = start;
  while (MonotonicNow() - start < 2 * idle) {
    last = MonotonicNow();  // before the bridge sees it, however long that takes
    ASSERT_TRUE(peer_.Send("x"));
    Step(absl::Milliseconds(5));
    ASSERT_THAT(bridge_->done, IsEmpty());
  }
  ASSERT_TRUE(RunUntilDone());
  EXPECT_GE(MonotonicNow() - last, idle - absl::Milliseconds(50));
}

TEST_F(StreamBridgeTest, AbortInsideASessionCallbackIsTheLastCallback) {
  Start();
  peer_.Reset();
  far().Send(std::string(1000, 'x'), /*last=*/true);
  // Data and the end of the stream arrive together at a socket that is broken.
  ASSERT_TRUE(RunUntilDone());
  for (int i = 0; i < 3; ++i) Step(absl::ZeroDuration());
  EXPECT_EQ(bridge_->done.size(), 1u);
}

TEST_F(StreamBridgeTest, UnwatchableSocketEndsTheBridgeAndItsStream) {
  bridge_ = std::make_unique<TestBridge>(loop_, absl::Hours(1));
  ASSERT_TRUE(pair_.client.session.Connect("db:1", bridge_.get()).ok());
  // epoll watches no regular files.
  bridge_->AdoptSocket(UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)),
                       /*try_read_now=*/false);
  EXPECT_THAT(bridge_->done, ElementsAre(StreamBridge::End::kUnwatchable));
  EXPECT_FALSE(bridge_->attached());
  EXPECT_EQ(bridge_->socket_fd(), -1) << "not closed";
  EXPECT_EQ(bridge_->unsent_bytes(), 0u);
  pair_.Pump();
  EXPECT_THAT(pair_.server.authorities, IsEmpty()) << "abandoned before its request left";
}

}  // namespace
}  // namespace trunkline
