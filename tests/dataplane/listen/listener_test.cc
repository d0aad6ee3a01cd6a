#include "dataplane/listen/listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline {
namespace {

class ListenerTest : public ::testing::Test, public Listener::Acceptor {
 protected:
  bool HasRoom() override { return has_room_; }
  void OnClient(UniqueFd client) override { clients_.push_back(std::move(client)); }

  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      loop_.RunOnce(absl::Milliseconds(20));
    }
    return true;
  }
  static UniqueFd Dial(const UniqueFd& socket) {
    const Address address = {.host = "127.0.0.1",
                             .port = static_cast<uint16_t>(BoundPort(socket.get()))};
    return ConnectTo(ResolveAddress(address).value()).fd;
  }

  EventLoop loop_;
  ListenerCell cell_;
  bool has_room_ = true;
  std::vector<UniqueFd> clients_;
};

TEST_F(ListenerTest, ClientsWaitAtALimitUntilThereIsRoom) {
  UniqueFd socket = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  const UniqueFd client = Dial(socket);
  has_room_ = false;
  Listener listener(loop_, std::move(socket), this, &cell_);
  ASSERT_TRUE(RunUntil([&] { return cell_.pauses.Value() > 0; }));
  EXPECT_TRUE(clients_.empty());
  has_room_ = true;
  EXPECT_TRUE(RunUntil([&] { return clients_.size() == 1; }));
}

TEST_F(ListenerTest, SocketThatEpollRefusesIsTriedAgain) {
  const UniqueFd socket = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  const UniqueFd client = Dial(socket);
  // epoll refuses to watch a regular file; later the same descriptor is the listening socket.
  UniqueFd refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const int fd = refused.get();
  Listener listener(loop_, std::move(refused), this, &cell_);
  EXPECT_EQ(cell_.unwatched.Value(), 1) << "readiness shows it";
  ASSERT_EQ(dup2(socket.get(), fd), fd);
  EXPECT_TRUE(RunUntil([&] { return clients_.size() == 1; }));
  EXPECT_EQ(cell_.unwatched.Value(), 0);
}

TEST_F(ListenerTest, RefusedSocketThatIsClosedCountsNoLonger) {
  const UniqueFd socket = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  {
    UniqueFd refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const int fd = refused.get();
    Listener listener(loop_, std::move(refused), this, &cell_);
    EXPECT_EQ(cell_.unwatched.Value(), 1);
    ASSERT_EQ(dup2(socket.get(), fd), fd);
  }
  EXPECT_EQ(cell_.unwatched.Value(), 0);
}

}  // namespace
}  // namespace trunkline
