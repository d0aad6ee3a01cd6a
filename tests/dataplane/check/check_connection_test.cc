#include "dataplane/check/check_connection.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>

#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/table/health_check.h"

namespace trunkline {
namespace {

class NoOwner final : public CheckConnection::Owner {
  void OnConnectionEnded(bool) override { ADD_FAILURE() << "the check never began"; }
};

TEST(CheckConnectionTest, ConnectionThatEpollCannotWatchNamesThatShortage) {
  // The loop's first descriptor is its epoll instance, and a file in its place watches nothing.
  const int next = UniqueFd(dup(0)).get();
  EventLoop loop;
  const UniqueFd epoll(dup(next));
  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const UniqueFd listener = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  const SocketAddress address =
      ResolveAddress(
          {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener.get()))})
          .value();
  NoOwner owner;
  CheckConnection connection(loop, owner, address,
                             CheckExchange({.kind = TcpCheck{.send = "x", .expect = "y"}}, "", ""));
  ASSERT_EQ(dup2(file.get(), next), next);
  EXPECT_EQ(connection.Start(), CheckConnection::State::kNoSocket);
  ASSERT_EQ(dup2(epoll.get(), next), next);
  EXPECT_THAT(connection.shortage(), testing::HasSubstr("epoll cannot watch descriptor"));
}

}  // namespace
}  // namespace trunkline
