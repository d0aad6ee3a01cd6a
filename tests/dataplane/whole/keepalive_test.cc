// TCP keepalive on the proxy's sockets.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

int OptionOf(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  getsockopt(fd, level, name, &value, &size);
  return value;
}

// Returns this process's socket with these ports at its own and its peer's end, or -1.
int FindSocket(uint16_t own_port, uint16_t peer_port) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 0; fd < static_cast<int>(limit.rlim_cur); ++fd) {
    if (OwnAddress(fd).port == own_port && PeerAddress(fd).port == peer_port) return fd;
  }
  return -1;
}

class KeepaliveTest : public ::testing::TestWithParam<ForwardingMode> {};

TEST_P(KeepaliveTest, ClientsAndLastingServerConnectionsAreProbed) {
  const LocalServer local;
  Tunnel tunnel(test::InMode(GetParam()));
  test::Serve(tunnel, GetParam(), local);
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send("question\n"));
  Peer server = local.Accept();
  EXPECT_EQ(server.Read(9), "question\n");
  const int accepted = FindSocket(tunnel.listening().port, OwnAddress(client.fd()).port);
  ASSERT_GE(accepted, 0);
  EXPECT_EQ(OptionOf(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(OptionOf(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 60);
  EXPECT_EQ(OptionOf(accepted, IPPROTO_TCP, TCP_KEEPINTVL), 10);
  EXPECT_EQ(OptionOf(accepted, IPPROTO_TCP, TCP_KEEPCNT), 6);
  if (GetParam() == ForwardingMode::kTunnel) return;  // trunks have PINGs
  const int upstream = FindSocket(PeerAddress(server.fd()).port, local.address().port);
  ASSERT_GE(upstream, 0);
  EXPECT_TRUE(Eventually([&] { return OptionOf(upstream, SOL_SOCKET, SO_KEEPALIVE) == 1; }));
  EXPECT_EQ(OptionOf(upstream, IPPROTO_TCP, TCP_KEEPIDLE), 60);
}

INSTANTIATE_TEST_SUITE_P(Modes, KeepaliveTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
