// Many clients that read nothing, send nothing, send byte by byte, or connect and leave. Other
// clients are served beside them, and their cost is bounded.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/http2/stream_window.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/base/random_bytes.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::HeaderFrom;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::RandomBytes;
using test::Tunnel;

class StalledReadersTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  static constexpr size_t kStalled = 500;
  static constexpr size_t kLive = 200;
  // More than a stalled reader's kernel and the proxy buffer.
  static constexpr size_t kReplyBytes = 160 * 1024;
  // The kernel's buffers, so small that no stalled reader looks like a fast one at first, because a
  // fast reader's window grows.
  static constexpr int kReceiveBuffer = 8 * 1024;
  static constexpr int kSendBuffer = 4 * 1024;
  // A stream's window in tunnel mode, a read's buffer in direct mode.
  static constexpr int64_t kMostBufferedBytes = StreamWindow::kInitialBytes;

  StalledReadersTest() {
    test::AllowDescriptors(1000 + 8 * (kStalled + kLive));
    test::Serve(tunnel_, GetParam(), server_);
    tunnel_.LimitSendBuffers(kSendBuffer);
  }

  int64_t buffered() { return tunnel_.worker().to_client_buffered_bytes.Value(); }

  struct Pair {
    Peer client;
    Peer server;
  };
  Pair Connect(int receive_buffer = 0) {
    Pair pair{tunnel_.Connect(receive_buffer), server_.Accept()};
    EXPECT_TRUE(pair.client && pair.server);
    return pair;
  }

  LocalServer server_;
  Tunnel tunnel_{InMode(GetParam())};
};

TEST_P(StalledReadersTest, OthersContinueAndBufferedBytesOfStalledReadersAreBounded) {
  const std::string all = RandomBytes(kReplyBytes + kStalled, 1);
  std::vector<Pair> stalled;
  std::vector<Pair> live;
  for (size_t i = 0; i < kLive; ++i) live.push_back(Connect());
  for (size_t i = 0; i < kStalled; ++i) {
    stalled.push_back(Connect(kReceiveBuffer));
    ASSERT_TRUE(stalled[i].server.Send(all.substr(i, kReplyBytes)));
  }
  // The proxy buffers bytes for each, and then nothing moves.
  int64_t before = -1;
  EXPECT_TRUE(Eventually([&] {
    const int64_t now = buffered();
    return now >= static_cast<int64_t>(kStalled) * 1024 && now == std::exchange(before, now);
  })) << buffered();
  for (int round = 0; round < 3; ++round) {
    for (Pair& pair : live) {
      test::ExpectExchange(pair.client, pair.server, all.substr(0, 1000), all.substr(0, 20'000));
    }
    EXPECT_LE(buffered(), static_cast<int64_t>(kStalled) * kMostBufferedBytes);
  }
  // A client that resumes has lost nothing. Few do: with such buffers each takes 100 ms.
  constexpr size_t kWakesUp = 50;
  for (size_t i = 0; i < kStalled; ++i) {
    if (i % kWakesUp != 0) stalled[i].client.Reset();
  }
  for (size_t i = 0; i < kStalled; i += kWakesUp) {
    stalled[i].server.ShutdownWrite();
    const int room = kReplyBytes;
    setsockopt(stalled[i].client.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    ASSERT_TRUE(stalled[i].client.ReadToEnd() == all.substr(i, kReplyBytes)) << i;
    EXPECT_EQ(stalled[i].client.ending(), Ending::kFin);
  }
  EXPECT_TRUE(Eventually([&] { return buffered() == 0; })) << buffered();
}

TEST_P(StalledReadersTest, BufferedBytesOfAStalledReaderThatLeavesAreFreed) {
  Pair stalled = Connect(kReceiveBuffer);
  ASSERT_TRUE(stalled.server.Send(RandomBytes(kReplyBytes, 1)));
  ASSERT_TRUE(Eventually([&] { return buffered() > 0; }));
  stalled.client.Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel_.clients() == 0; }));
  EXPECT_EQ(buffered(), 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, StalledReadersTest, ::testing::ValuesIn(test::kByteModes),
                         test::kNameOfMode);

// In message mode, stalled readers have requests on the few shared connections.
class StalledAskersTest : public ::testing::Test {
 protected:
  static constexpr size_t kStalled = 500;
  static constexpr size_t kLive = 200;
  // The size of a reply, more than the kernel buffers. A few clients request so many at once that
  // their server alone would wait for them, and so few that the proxy need not reset them.
  static constexpr size_t kStalledReplyBytes = 50'000;
  static constexpr size_t kGreedyOneIn = 10;
  static constexpr size_t kGreedyAsksFor = 7;
  static constexpr size_t kLiveReplyBytes = 20'000;
  static constexpr int kReceiveBuffer = 8 * 1024;
  static constexpr int kSendBuffer = 4 * 1024;

  struct Asker {
    Peer peer;
    std::string expected;
    std::string got;
  };

  StalledAskersTest() {
    test::AllowDescriptors(1000 + 8 * (kStalled + kLive));
    test::Serve(tunnel_, ForwardingMode::kMessage, local_);
    tunnel_.LimitSendBuffers(kSendBuffer);
  }

  Asker Connect(int receive_buffer = 0) { return {tunnel_.Connect(receive_buffer), "", ""}; }

  // A request names the size of its reply, which repeats it: no two are alike.
  void Ask(Asker& asker, size_t reply_bytes, size_t times = 1) {
    std::string questions;
    for (size_t i = 0; i < times; ++i) {
      const std::string question = absl::StrCat(reply_bytes, " for question ", ++questions_);
      asker.expected += AnswerTo(question) + "\n";
      questions += question + "\n";
    }
    ASSERT_TRUE(asker.peer.Send(questions));
  }
  static std::string AnswerTo(const std::string& question) {
    size_t bytes = 0;
    EXPECT_TRUE(absl::SimpleAtoi(question.substr(0, question.find(' ')), &bytes)) << question;
    std::string answer;
    while (answer.size() < bytes) answer += question;
    return answer;
  }

  // Serves what the server's ends can without blocking.
  void Serve() {
    while (local_.Knocked(0)) servers_.push_back({local_.Accept(), "", ""});
    for (ServerEnd& end : servers_) {
      end.questions += end.peer.Read(end.peer.UnreadBytes());
      for (size_t at; (at = end.questions.find('\n')) != std::string::npos;) {
        end.answers += AnswerTo(end.questions.substr(0, at)) + "\n";
        end.questions.erase(0, at + 1);
      }
      end.answers.erase(0, end.peer.SendWhatFits(end.answers));
    }
  }
  // Every client reads and gets its replies.
  void ExpectAnswered(const std::vector<Asker*>& askers) {
    const auto answered = [&] {
      Serve();
      bool all = true;
      for (Asker* asker : askers) {
        asker->got += asker->peer.Read(asker->peer.UnreadBytes());
        all = all && asker->got.size() >= asker->expected.size();
      }
      return all;
    };
    EXPECT_TRUE(Eventually(answered));
    for (Asker* asker : askers) EXPECT_TRUE(asker->got == asker->expected);
  }
  void ExpectLiveOnesGoOn() {
    for (int round = 0; round < 3; ++round) {
      for (Asker* asker : live_) Ask(*asker, kLiveReplyBytes);
      ExpectAnswered(live_);
    }
  }
  int64_t buffered() { return tunnel_.worker().to_client_buffered_bytes.Value(); }

  struct ServerEnd {
    Peer peer;
    std::string questions;
    std::string answers;
  };

  LocalServer local_;
  Tunnel tunnel_{InMode(ForwardingMode::kMessage)};
  std::vector<ServerEnd> servers_;
  std::vector<Asker*> live_;
  uint64_t questions_ = 0;
};

TEST_F(StalledAskersTest, OthersContinueOnTheSameConnections) {
  std::vector<Asker> live;
  for (size_t i = 0; i < kLive; ++i) live.push_back(Connect());
  for (Asker& asker : live) live_.push_back(&asker);
  std::vector<Asker> stalled;
  for (size_t i = 0; i < kStalled; ++i) {
    stalled.push_back(Connect(kReceiveBuffer));
    Ask(stalled.back(), kStalledReplyBytes, i % kGreedyOneIn == 0 ? kGreedyAsksFor : 1);
  }
  // While their replies arrive, and when the proxy buffers all unread bytes.
  ExpectLiveOnesGoOn();
  uint64_t before = 0;
  EXPECT_TRUE(Eventually([&] {
    Serve();
    const uint64_t now = tunnel_.worker().shared.bytes_read.Value();
    const bool kept = buffered() > static_cast<int64_t>(kStalled * kStalledReplyBytes / 2);
    return kept && now == std::exchange(before, now);
  })) << buffered();
  ExpectLiveOnesGoOn();
  EXPECT_LE(servers_.size(), MessageService().max_shared);
  EXPECT_EQ(tunnel_.worker().slow_readers.Value(), 0u);
  // A client that resumes has lost nothing. Few do: with such buffers each takes 100 ms.
  constexpr size_t kWakesUp = 49;
  for (size_t i = 0; i < kStalled; ++i) {
    if (i % kWakesUp != 0) stalled[i].peer.Reset();
  }
  for (size_t i = 0; i < kStalled; i += kWakesUp) {
    const int room = kStalledReplyBytes;
    setsockopt(stalled[i].peer.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    ExpectAnswered({&stalled[i]});
  }
  EXPECT_TRUE(Eventually([&] { return buffered() == 0; })) << buffered();
}

// Echoes bytes on each of its connections.
class EchoServer {
 public:
  EchoServer() : epoll_(epoll_create1(EPOLL_CLOEXEC)), stop_(eventfd(0, EFD_CLOEXEC)) {
    Watch(local_.fd());
    Watch(stop_.get());
    thread_ = std::thread([this] { Run(); });
  }
  ~EchoServer() {
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    thread_.join();
  }
  const LocalServer& local() const { return local_; }

 private:
  void Watch(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  void Run() {
    epoll_event event{};
    while (epoll_wait(epoll_.get(), &event, 1, -1) != 1 || event.data.fd != stop_.get()) {
      event.data.fd == local_.fd() ? Accept() : Echo(event.data.fd);
    }
  }
  void Accept() {
    Peer peer = local_.Accept();
    if (!peer) return;
    const int fd = peer.fd();
    Watch(fd);
    peers_[fd] = std::move(peer);
  }
  void Echo(int fd) {
    char bytes[4096];
    const ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0 || !peers_[fd].Send(std::string(bytes, static_cast<size_t>(n)))) peers_.erase(fd);
  }

  LocalServer local_;
  const UniqueFd epoll_;
  const UniqueFd stop_;
  std::unordered_map<int, Peer> peers_;
  std::thread thread_;
};

class FloodTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  // With a proxy of short timeouts behind another one, or alone.
  void Start(bool accept_proxy_protocol, FlowLimits limits = {}) {
    tunnel_ = std::make_unique<Tunnel>(
        InMode(GetParam(), test::Introduced(accept_proxy_protocol, {.limits = limits})));
    test::Serve(*tunnel_, GetParam(), server_.local());
  }
  static void ExpectEcho(Peer& client, const std::string& line) {
    ASSERT_TRUE(client.Send(line));
    EXPECT_EQ(client.Read(line.size()), line);
  }
  void ExpectNoClientsLeft() {
    EXPECT_TRUE(Eventually([&] { return tunnel_->clients() == 0; })) << tunnel_->clients();
    EXPECT_EQ(tunnel_->worker().trunk_lost.Value(), 0u);
  }

  static constexpr uint32_t kPlaces = 50;
  static constexpr FlowLimits kFewPlaces = {.first_byte_timeout = absl::Milliseconds(300),
                                            .max_clients = kPlaces};

  EchoServer server_;
  std::unique_ptr<Tunnel> tunnel_;
};

TEST_P(FloodTest, SilentClientsAtTheLimitAreClosedInTime) {
  Start(/*accept_proxy_protocol=*/false, kFewPlaces);
  std::vector<Peer> silent;
  for (uint32_t i = 0; i < kPlaces; ++i) silent.push_back(tunnel_->Connect());
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().accepted.Value() >= kPlaces; }));
  Peer late = tunnel_->Connect();
  ExpectEcho(late, "patience\n");
  for (Peer& client : silent) {
    EXPECT_EQ(client.ReadToEnd(), "");
    EXPECT_EQ(client.ending(), Ending::kReset);
  }
  EXPECT_EQ(tunnel_->worker().timeouts.Value(), kPlaces);
  late.Close();
  ExpectNoClientsLeft();
}

TEST_P(FloodTest, IncompleteHeadersAtTheLimitAreClosedInTime) {
  Start(/*accept_proxy_protocol=*/true, kFewPlaces);
  const std::string header = HeaderFrom("192.0.2.1:50000");
  std::vector<Peer> half;
  for (uint32_t i = 0; i < kPlaces; ++i) {
    half.push_back(tunnel_->Connect());
    ASSERT_TRUE(half.back().Send(header.substr(0, i % header.size())));
  }
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().accepted.Value() >= kPlaces; }));
  Peer late = tunnel_->Connect();
  ASSERT_TRUE(late.Send(header));
  ExpectEcho(late, "patience\n");
  for (Peer& client : half) {
    EXPECT_EQ(client.ReadToEnd(), "");
    EXPECT_EQ(client.ending(), Ending::kReset);
  }
  EXPECT_EQ(tunnel_->worker().timeouts.Value(), kPlaces);
  late.Close();
  ExpectNoClientsLeft();
}

TEST_P(FloodTest, ByteByByteClientsAreServedWithoutHarmToOthers) {
  constexpr size_t kSlow = 200;
  test::AllowDescriptors(1000 + 8 * kSlow);
  Start(/*accept_proxy_protocol=*/false);
  Peer live = tunnel_->Connect();
  std::vector<Peer> slow;
  for (size_t i = 0; i < kSlow; ++i) slow.push_back(tunnel_->Connect());
  const auto words_of = [](size_t i) { return "slow client " + std::to_string(1000 + i) + "\n"; };
  for (size_t at = 0; at < words_of(0).size(); ++at) {
    for (size_t i = 0; i < kSlow; ++i) ASSERT_TRUE(slow[i].Send(words_of(i).substr(at, 1)));
    ExpectEcho(live, "question " + std::to_string(at) + "\n");
  }
  for (size_t i = 0; i < kSlow; ++i) EXPECT_EQ(slow[i].Read(words_of(i).size()), words_of(i));
}

TEST_P(FloodTest, ClientsThatConnectAndLeaveLeaveNoFlows) {
  constexpr uint64_t kComers = 3000;
  Start(/*accept_proxy_protocol=*/false);
  Peer live = tunnel_->Connect();
  for (uint64_t i = 0; i < kComers; ++i) {
    Peer comer = tunnel_->Connect();
    ASSERT_TRUE(comer) << i;
    if (i % 3 == 0) comer.Send("half a");
    i % 2 == 0 ? comer.Close() : comer.Reset();
    if (i % 100 == 0) ExpectEcho(live, "question\n");
  }
  ExpectEcho(live, "question\n");
  live.Close();
  ExpectNoClientsLeft();
  EXPECT_TRUE(Eventually([&] { return tunnel_->cell(0).active.Value() == 0; }));
  // All were counted, except those that were reset in the kernel's queue.
  EXPECT_LE(tunnel_->listener().accepted.Value(), kComers + 1);
}

INSTANTIATE_TEST_SUITE_P(Modes, FloodTest, ::testing::ValuesIn(test::kAllModes), test::kNameOfMode);

}  // namespace
}  // namespace trunkline
