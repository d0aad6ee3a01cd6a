// TCP keepalive on the proxy's sockets.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include "common/base/forwarding_mode.h"
#include "common/net/socket.h"
#include "tests/common/eventually.h"
#include "tests/common/net/find_socket.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::FindSocket;
using test::LocalServer;
using test::OptionOf;
using test::Peer;
using test::Tunnel;

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
