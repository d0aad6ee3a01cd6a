// Small messages beside bulk on one trunk that is never empty, through proxy and agent over real
// sockets. The test relays the trunk and decides when bytes pass, so that the trunk is backlogged
// on any machine. It counts the bytes of bulk before each small message, because bytes, unlike
// times, do not depend on the machine's speed.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::Tunnel;

constexpr size_t kBulk = 32;
constexpr size_t kSmall = 50;
// Several segments of loopback: with fewer the kernel waits for a window of a whole one.
constexpr int kReceiveBuffer = 256 * 1024;
// A trunk is backlogged if the relay has this many bytes waiting.
constexpr size_t kBacklog = 32 * 1024;

// The bytes that may precede a message: a turn of each bulk stream (16 KiB) ...
constexpr size_t kTurns = kBulk * 16 * 1024;
// ... the bytes that were ready before it: the trunk's output buffer with the turn that filled it,
// what the kernel takes unsent (128 KiB and one segment of 64 KiB), the relay's receive buffer,
// which the kernel doubles, and the piece that the relay works on.
constexpr size_t kReadyBefore = (256 + 16 + 128 + 64 + 16) * 1024 + 2 * kReceiveBuffer;
// And now and then the writes of a pass, where the sender was in the middle of one.
constexpr size_t kPass = 8 * 256 * 1024;
// The limit from which a message counts as starved.
constexpr size_t kEndless = 64 << 20;

constexpr char kBulkByte = 'b';
constexpr char kSmallByte = 's';

// Finds frames in the bytes of one direction, which may arrive in any pieces.
class FrameTap {
 public:
  // Counts DATA of bulk streams up to here, and DATA of small ones.
  void Feed(std::string_view bytes) {
    rest_.append(bytes);
    size_t at = rest_.rfind("PRI ", 0) == 0 ? kPreface : 0;
    for (; at + kHead <= rest_.size() && at + kHead + Length(at) <= rest_.size();
         at += kHead + Length(at)) {
      const bool data = rest_[at + 3] == 0 && Length(at) > 0;
      if (data && rest_[at + kHead] == kBulkByte) bulk_bytes += Length(at);
      if (data && rest_[at + kHead] == kSmallByte) ++small_messages;
    }
    rest_.erase(0, std::min(at, rest_.size()));
  }

  size_t bulk_bytes = 0;
  size_t small_messages = 0;

 private:
  static constexpr size_t kPreface = 24;
  static constexpr size_t kHead = 9;

  size_t Length(size_t at) const {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(rest_[at + i]); };
    return static_cast<size_t>(byte(0)) << 16 | static_cast<size_t>(byte(1)) << 8 | byte(2);
  }

  std::string rest_;
};

// One direction of the trunk.
struct Lane {
  Peer* from;
  Peer* to;
  FrameTap tap;

  // Relays a piece of the waiting bytes.
  void Move() {
    char piece[16 * 1024];
    const ssize_t n = recv(from->fd(), piece, sizeof piece, MSG_DONTWAIT);
    if (n <= 0) return;
    ASSERT_TRUE(to->Send(std::string(piece, static_cast<size_t>(n))));
    tap.Feed({piece, static_cast<size_t>(n)});
  }
  bool backlogged() const { return from->UnreadBytes() >= kBacklog; }
};

// A client and the server's end of its connection.
struct Pair {
  Peer client;
  Peer server;
};

// Fills and empties both directions of all pairs until it is stopped.
void Pour(const std::vector<Pair>& pairs, const std::atomic<bool>& stop) {
  const std::string bulk(64 * 1024, kBulkByte);
  std::string sink(64 * 1024, 0);
  std::vector<pollfd> ends;
  for (const Pair& pair : pairs) {
    for (const Peer* end : {&pair.client, &pair.server}) {
      ends.push_back({.fd = end->fd(), .events = POLLIN | POLLOUT});
    }
  }
  while (!stop) {
    poll(ends.data(), ends.size(), 50);
    for (const pollfd& end : ends) {
      if (end.revents & POLLOUT)
        send(end.fd, bulk.data(), bulk.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (end.revents & POLLIN) recv(end.fd, sink.data(), sink.size(), MSG_DONTWAIT);
    }
  }
}

class FairTurnsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const size_t agent = tunnel_.AddAgent(local_.address());
    tunnel_.Remove(agent);
    tunnel_.AddEndpoint(relay_.address());
    setsockopt(relay_.fd(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
    tunnel_.Apply();
    to_proxy_ = relay_.Accept();
    to_agent_ = test::ConnectPeer(tunnel_.trunk_address(agent), kReceiveBuffer);
    ASSERT_TRUE(to_proxy_ && to_agent_);
    for (size_t i = 0; i < kSmall; ++i) small_.push_back(Open());
    for (size_t i = 0; i < kBulk; ++i) bulk_.push_back(Open());
    pouring_ = std::thread([this] { Pour(bulk_, stop_); });
  }
  void TearDown() override {
    stop_ = true;
    if (pouring_.joinable()) pouring_.join();
  }

  // Lets bytes pass on `lanes` until `condition` holds. Returns false if the test's deadline
  // passes.
  bool Pass(const std::vector<Lane*>& lanes, const std::function<bool()>& condition) {
    return test::Eventually([&] {
      for (bool moved = true; moved && !condition();) {
        moved = false;
        for (Lane* lane : lanes) {
          moved = moved || lane->from->UnreadBytes() > 0;
          lane->Move();
        }
      }
      return condition();
    });
  }
  Pair Open() {
    Pair pair;
    pair.client = tunnel_.Connect();
    EXPECT_TRUE(Pass({&up_, &down_}, [&] { return local_.Knocked(0); }));
    pair.server = local_.Accept();
    EXPECT_TRUE(pair.server);
    return pair;
  }
  // Sends a small message while its direction is backlogged; returns the bytes of bulk that passed
  // before it did.
  size_t BulkBefore(Lane& lane, Lane& other, Peer& from, Peer& to) {
    EXPECT_TRUE(Pass({&other}, [&] { return lane.backlogged(); }))
        << "bulk does not fill the trunk";
    const size_t bulk = lane.tap.bulk_bytes;
    const size_t messages = lane.tap.small_messages;
    EXPECT_TRUE(from.Send(std::string(100, kSmallByte)));
    EXPECT_TRUE(Pass({&lane, &other}, [&] {
      return lane.tap.small_messages > messages || lane.tap.bulk_bytes > bulk + kEndless;
    }));
    const size_t before = lane.tap.bulk_bytes - bulk;
    EXPECT_LE(before, kEndless) << "the message starved";
    if (before <= kEndless) {
      EXPECT_EQ(to.Read(100).size(), 100u);
    }
    return before;
  }
  static void ExpectBounded(const std::vector<size_t>& before, const char* what) {
    SCOPED_TRACE(what);
    const auto [least, most] = std::minmax_element(before.begin(), before.end());
    const size_t mean = std::accumulate(before.begin(), before.end(), size_t{0}) / before.size();
    EXPECT_GE(*least, kBacklog / 2) << "the trunk was not full";
    EXPECT_LE(*most, kTurns + kReadyBefore + kPass);
    EXPECT_LE(mean, kTurns + kReadyBefore);
  }

  LocalServer local_;
  LocalServer relay_;
  Tunnel tunnel_{{.trunks = {.max_trunks = 1}}};
  Peer to_proxy_;
  Peer to_agent_;
  Lane up_{&to_proxy_, &to_agent_, {}};
  Lane down_{&to_agent_, &to_proxy_, {}};
  std::vector<Pair> small_;
  std::vector<Pair> bulk_;
  std::atomic<bool> stop_ = false;
  std::thread pouring_;
};

TEST_F(FairTurnsTest, SmallMessageWaitsForATurnOfEachBulkStreamAtMost) {
  std::vector<size_t> before_requests;
  std::vector<size_t> before_replies;
  for (Pair& pair : small_) {
    before_requests.push_back(BulkBefore(up_, down_, pair.client, pair.server));
    before_replies.push_back(BulkBefore(down_, up_, pair.server, pair.client));
    ASSERT_FALSE(HasFailure());
  }
  ExpectBounded(before_requests, "requests");
  ExpectBounded(before_replies, "replies");
  EXPECT_EQ(tunnel_.worker().dials.Value(), 1u) << "all went over one trunk";
}

}  // namespace
}  // namespace trunkline
