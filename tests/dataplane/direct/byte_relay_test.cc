// One direction between two sockets, on the test's own thread; the test decides when to pump.
#include "dataplane/direct/byte_relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#include "common/base/random.h"
#include "common/net/socket.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Peer;
using test::TcpPair;
using Result = ByteRelay::Result;

std::string Noise(size_t size, uint64_t seed = 1) {
  FastRandom random(seed);
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random.Next());
  return bytes;
}

// If `left` is false, no descriptor can be opened during its lifetime.
class LimitedDescriptors {
 public:
  explicit LimitedDescriptors(bool left) {
    getrlimit(RLIMIT_NOFILE, &limit_);
    const rlimit none{.rlim_cur = 0, .rlim_max = limit_.rlim_max};
    if (!left) setrlimit(RLIMIT_NOFILE, &none);
  }
  ~LimitedDescriptors() { setrlimit(RLIMIT_NOFILE, &limit_); }

 private:
  rlimit limit_;
};

class ByteRelayTest : public ::testing::Test {
 protected:
  explicit ByteRelayTest(int sinks_receive_buffer = 0)
      : source_(TcpPair()), sink_(TcpPair(sinks_receive_buffer)) {
    // A splice to a broken socket raises SIGPIPE, which the programs ignore.
    signal(SIGPIPE, SIG_IGN);
  }

  // Pumps with the flags that the events of both sockets would set.
  Result Pump() {
    short source_events = Poll(source_.first.get(), POLLIN | POLLRDHUP);
    if (source_events != 0) relay_.readable = true;
    if (source_events & POLLRDHUP) relay_.OnSourceFin();
    if (source_events & POLLERR) relay_.source_end = ByteRelay::SourceEnd::kReset;
    if (Poll(sink_.first.get(), POLLOUT) != 0) relay_.writable = true;
    const LimitedDescriptors limited(descriptors_left_);
    return relay_.Pump(source_.first.get(), sink_.first.get(), &moved_);
  }
  // Pumps until the result is neither kMore nor kWaiting, while the far end reads everything.
  Result PumpToTheEnd() {
    for (;;) {
      const Result result = Pump();
      ReadThere();
      if (result != Result::kMore && result != Result::kWaiting) return result;
      if (result == Result::kWaiting && !relay_.has_buffered_bytes() &&
          there().ending() != Ending::kNone) {
        return result;
      }
    }
  }
  // Reads the bytes that have arrived at the far end.
  void ReadThere() {
    while (Poll(there().fd(), POLLIN) != 0) {
      const std::string more = there().Read(1);
      if (more.empty()) return;
      arrived_ += more + there().Read(there().UnreadBytes());
    }
  }
  static short Poll(int fd, short events) {
    pollfd wait{.fd = fd, .events = events};
    poll(&wait, 1, 0);
    return wait.revents;
  }

  Peer& here() { return source_.second; }
  Peer& there() { return sink_.second; }

  std::pair<UniqueFd, Peer> source_;
  std::pair<UniqueFd, Peer> sink_;
  ByteRelay relay_;
  uint64_t moved_ = 0;
  std::string arrived_;
  bool descriptors_left_ = true;
};

class ByteRelayToASmallSinkTest : public ByteRelayTest {
 protected:
  ByteRelayToASmallSinkTest() : ByteRelayTest(/*sinks_receive_buffer=*/4096) {}
};

int OpenDescriptors() {
  int open = 0;
  for (int fd = 0; fd < 1000; ++fd) open += fcntl(fd, F_GETFD) != -1;
  return open;
}

TEST_F(ByteRelayTest, SmallPieceNeedsNoPipe) {
  const int before = OpenDescriptors();
  ASSERT_TRUE(here().Send("hello"));
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLIN));
  EXPECT_EQ(Pump(), Result::kWaiting);
  EXPECT_EQ(there().Read(5), "hello");
  EXPECT_EQ(moved_, 5u);
  EXPECT_EQ(OpenDescriptors(), before);
}

// A thread keeps spare pipes, so these two tests run in threads of their own.
TEST_F(ByteRelayTest, BulkIsSplicedAndThePipeReturnsWhenTheSourceRunsDry) {
  std::thread([&] {
    const std::string bulk = Noise(3'000'000);
    const int before = OpenDescriptors();
    bool piped = false;
    for (size_t sent = 0; sent < bulk.size() || arrived_.size() < bulk.size();) {
      if (sent < bulk.size()) sent += here().SendWhatFits(bulk.substr(sent, 1'000'000));
      Pump();
      piped = piped || OpenDescriptors() > before;
      ReadThere();
    }
    EXPECT_TRUE(piped);
    EXPECT_TRUE(arrived_ == bulk);
    EXPECT_EQ(moved_, bulk.size());
    // The next bulk uses the same pipe.
    const int after = OpenDescriptors();
    here().SendWhatFits(bulk);
    Pump();
    EXPECT_EQ(OpenDescriptors(), after);
  }).join();
}

TEST_F(ByteRelayTest, BulkIsCopiedWithoutDescriptorsForAPipe) {
  std::thread([&] {
    const std::string bulk = Noise(2'000'000);
    descriptors_left_ = false;
    for (size_t sent = 0; arrived_.size() < bulk.size();) {
      if (sent < bulk.size()) sent += here().SendWhatFits(bulk.substr(sent, 1'000'000));
      Pump();
      ReadThere();
    }
    EXPECT_TRUE(arrived_ == bulk);
  }).join();
}

TEST_F(ByteRelayTest, BulkIsCopiedAtTheThreadsPipeLimit) {
  std::thread([&] {
    const std::string bulk = Noise(2'000'000);
    relay_.max_pipes = 0;
    size_t most_piped = 0;
    for (size_t sent = 0; arrived_.size() < bulk.size();) {
      if (sent < bulk.size()) sent += here().SendWhatFits(bulk.substr(sent, 1'000'000));
      Pump();
      most_piped = std::max(most_piped, relay_.piped_bytes());
      // Buffered bytes stay in the pipe until the sink takes them.
      if (sent == bulk.size() || relay_.has_buffered_bytes()) ReadThere();
    }
    EXPECT_TRUE(arrived_ == bulk);
    EXPECT_EQ(most_piped, 0u);
  }).join();
}

TEST_F(ByteRelayTest, TurnIsBounded) {
  const std::string bulk = Noise(8'000'000);
  uint64_t most = 0;
  for (size_t sent = 0; arrived_.size() < bulk.size();) {
    if (sent < bulk.size()) sent += here().SendWhatFits(bulk.substr(sent));
    const uint64_t before = moved_;
    Pump();
    most = std::max(most, moved_ - before);
    ReadThere();
  }
  // The last pipe of a turn may exceed its bound.
  EXPECT_LE(most, 1024u * 1024 + 256 * 1024);
}

TEST_F(ByteRelayTest, PrimedBytesGoFirst) {
  const std::string primed = "primed ";
  relay_.Prime({reinterpret_cast<const uint8_t*>(primed.data()), primed.size()});
  ASSERT_TRUE(here().Send("and read"));
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLIN));
  EXPECT_TRUE(relay_.has_buffered_bytes());
  EXPECT_EQ(Pump(), Result::kWaiting);
  EXPECT_EQ(there().Read(15), "primed and read");
  EXPECT_EQ(moved_, 15u);
}

TEST_F(ByteRelayTest, FinFollowsTheLastByte) {
  ASSERT_TRUE(here().Send("last words"));
  here().ShutdownWrite();
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLRDHUP));
  EXPECT_EQ(Pump(), Result::kEnded);
  EXPECT_TRUE(relay_.ended());
  EXPECT_EQ(there().ReadToEnd(), "last words");
  EXPECT_EQ(there().ending(), Ending::kFin);
  EXPECT_EQ(Pump(), Result::kEnded);
}

TEST_F(ByteRelayTest, FinBehindBulkIsForwarded) {
  const std::string bulk = Noise(1'000'000);
  for (size_t sent = 0; sent < bulk.size();) {
    sent += here().SendWhatFits(bulk.substr(sent));
    Pump();
    ReadThere();
  }
  here().ShutdownWrite();
  EXPECT_EQ(PumpToTheEnd(), Result::kEnded);
  arrived_ += there().ReadToEnd();
  EXPECT_TRUE(arrived_ == bulk);
  EXPECT_EQ(there().ending(), Ending::kFin);
}

TEST_F(ByteRelayTest, DirectionsEndOneByOne) {
  ByteRelay back;
  uint64_t moved_back = 0;
  here().ShutdownWrite();
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLRDHUP));
  EXPECT_EQ(Pump(), Result::kEnded);
  EXPECT_EQ(there().ReadToEnd(), "");
  ASSERT_TRUE(there().Send("still here"));
  there().ShutdownWrite();
  ASSERT_TRUE(test::WaitFor(sink_.first.get(), POLLRDHUP));
  back.OnSourceFin();
  EXPECT_EQ(back.Pump(sink_.first.get(), source_.first.get(), &moved_back), Result::kEnded);
  EXPECT_EQ(here().ReadToEnd(), "still here");
  EXPECT_EQ(here().ending(), Ending::kFin);
}

TEST_F(ByteRelayTest, ResetAfterDataComesAfterTheData) {
  ASSERT_TRUE(here().Send("said before"));
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLIN));
  here().Reset();
  ASSERT_TRUE(test::WaitFor(source_.first.get(), 0)) << "POLLERR of a reset";
  EXPECT_EQ(Pump(), Result::kSourceBroke);
  EXPECT_EQ(there().Read(11), "said before");
  EXPECT_FALSE(relay_.ended());
}

// The kernel reports the error of a reset once; a later read returns 0, as for a FIN.
TEST_F(ByteRelayTest, ResetWithAConsumedErrorIsNotAFin) {
  here().Reset();
  ASSERT_TRUE(test::WaitFor(source_.first.get(), 0));
  const short events = Poll(source_.first.get(), POLLIN);
  ASSERT_TRUE(events & POLLERR);
  ASSERT_NE(SocketError(source_.first.get()), 0);
  relay_.source_end = ByteRelay::SourceEnd::kReset;
  EXPECT_EQ(relay_.Pump(source_.first.get(), sink_.first.get(), &moved_), Result::kSourceBroke);
}

TEST_F(ByteRelayToASmallSinkTest, BackpressureStopsReadingTheSource) {
  const std::string bulk = Noise(40'000'000);
  size_t sent = 0;
  size_t stuck = 0;
  // Several rounds in which neither the source accepts nor the relay moves any byte.
  while (stuck < 50 && sent < bulk.size()) {
    const size_t n = here().SendWhatFits(bulk.substr(sent, 1'000'000));
    const uint64_t before = moved_;
    EXPECT_NE(Pump(), Result::kEnded);
    sent += n;
    stuck = n == 0 && moved_ == before ? stuck + 1 : 0;
  }
  ASSERT_LT(sent, bulk.size()) << "no backpressure, although the far end does not read";
  EXPECT_TRUE(relay_.has_buffered_bytes());
  // Then it continues without a loss.
  while (arrived_.size() < sent) {
    ReadThere();
    Pump();
  }
  EXPECT_TRUE(arrived_ == bulk.substr(0, sent));
}

TEST_F(ByteRelayTest, BrokenSinkIsReportedOnce) {
  there().Reset();
  ASSERT_TRUE(test::WaitFor(sink_.first.get(), 0));
  ASSERT_TRUE(here().Send("undeliverable"));
  ASSERT_TRUE(test::WaitFor(source_.first.get(), POLLIN));
  EXPECT_EQ(Pump(), Result::kSinkBroke);
  EXPECT_EQ(Pump(), Result::kWaiting);
  EXPECT_EQ(moved_, 0u);
}

TEST_F(ByteRelayTest, SinkThatBreaksDuringBulkIsReportedOnce) {
  const std::string bulk = Noise(4'000'000);
  size_t sent = 0;
  while (moved_ < 500'000) {
    sent += here().SendWhatFits(bulk.substr(sent));
    Pump();
    ReadThere();
  }
  there().Reset();
  ASSERT_TRUE(test::WaitFor(sink_.first.get(), 0));
  Result result = Result::kWaiting;
  while (result == Result::kWaiting || result == Result::kMore) {
    sent += here().SendWhatFits(bulk.substr(sent, 100'000));
    result = Pump();
  }
  EXPECT_EQ(result, Result::kSinkBroke);
  EXPECT_EQ(Pump(), Result::kWaiting);
}

}  // namespace
}  // namespace trunkline
