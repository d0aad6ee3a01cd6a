// Closes connections while their clients still send, on the test's own thread.
#include "dataplane/flow/lingering_closes.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Peer;
using test::TcpPair;

constexpr absl::Duration kPass = absl::Milliseconds(10);
// Exceeds a socket's buffers, so that it can only be sent if the proxy reads it.
const std::string kUpload(16 << 20, 'x');

class LingeringClosesTest : public ::testing::Test {
 protected:
  // Adds a connection whose last reply is sent.
  Peer Start(LingeringCloses& closes) {
    auto [fd, peer] = TcpPair();
    EXPECT_EQ(send(fd.get(), "bye", 3, MSG_NOSIGNAL), 3);
    closes.Add(std::move(fd));
    return std::move(peer);
  }
  // Returns false if the connection broke.
  bool SendAll(Peer& peer) {
    for (size_t sent = 0; sent < kUpload.size();) {
      sent += peer.SendWhatFits(kUpload.substr(sent, 1 << 20));
      if (peer.send_failed()) return false;
      loop_.RunOnce(kPass);
    }
    return true;
  }
  // Waits as long as a test may take.
  void RunUntilNoneIsLeft(const LingeringCloses& closes) {
    const MonotonicTime end = MonotonicNow() + absl::Seconds(20);
    while (closes.size() > 0 && MonotonicNow() < end) loop_.RunOnce(kPass);
    EXPECT_EQ(closes.size(), 0u);
  }

  EventLoop loop_;
};

TEST_F(LingeringClosesTest, ClientThatIsStillSendingGetsTheLastReply) {
  LingeringCloses closes(loop_);
  Peer client = Start(closes);
  EXPECT_TRUE(SendAll(client)) << "it was reset";
  EXPECT_EQ(client.ReadToEnd(), "bye");
  EXPECT_EQ(client.ending(), Ending::kFin);
  EXPECT_EQ(closes.size(), 1u);
  client.Close();
  RunUntilNoneIsLeft(closes);
}

TEST_F(LingeringClosesTest, ClientThatHasEndedItsSideIsClosedAtOnce) {
  LingeringCloses closes(loop_);
  auto [fd, peer] = TcpPair();
  ASSERT_TRUE(peer.Send("rest"));
  peer.ShutdownWrite();
  ASSERT_TRUE(test::WaitFor(fd.get(), POLLRDHUP));
  closes.Add(std::move(fd));
  EXPECT_EQ(closes.size(), 0u);
  EXPECT_EQ(peer.ReadToEnd(), "");
  EXPECT_EQ(peer.ending(), Ending::kFin);
}

TEST_F(LingeringClosesTest, ClientThatNeverEndsItsSideIsResetAfterThePatience) {
  LingeringCloses closes(loop_, absl::Milliseconds(50));
  Peer client = Start(closes);
  RunUntilNoneIsLeft(closes);
  EXPECT_EQ(client.Read(3), "bye");
  while (client.Send("x")) {
  }
  EXPECT_EQ(closes.size(), 0u);
}

TEST_F(LingeringClosesTest, NumberOfLingeringConnectionsIsBounded) {
  LingeringCloses closes(loop_);
  std::vector<Peer> clients;
  for (size_t i = 0; i < LingeringCloses::kMost + 5; ++i) clients.push_back(Start(closes));
  EXPECT_EQ(closes.size(), LingeringCloses::kMost);
  for (Peer& client : clients) EXPECT_EQ(client.ReadToEnd(), "bye");
  clients.clear();
  RunUntilNoneIsLeft(closes);
}

}  // namespace
}  // namespace trunkline
