// A server whose name has several addresses, of which only the last accepts connections.
#include <gtest/gtest.h>

#include <vector>

#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::Tunnel;

class AddressesTest : public ::testing::TestWithParam<ForwardingMode> {};

TEST_P(AddressesTest, EveryAddressIsTriedBeforeAClientFails) {
  const SocketAddress closed = ResolveAddress(RefusingAddress()).value();
  const SocketAddress closed_too = ResolveAddress(RefusingAddress()).value();
  Tunnel::Options options;
  options.adapt = [&](EndpointSet& set) {
    for (Endpoint& endpoint : set.endpoints) {
      endpoint.addresses = std::make_shared<const std::vector<SocketAddress>>(
          std::vector<SocketAddress>{closed, closed_too, endpoint.addresses->front()});
    }
  };
  const LocalServer local;
  Tunnel tunnel(test::InMode(GetParam(), options));
  test::Serve(tunnel, GetParam(), local);
  Peer server;
  for (int i = 0; i < 3; ++i) {
    Peer client = tunnel.Connect();
    ASSERT_TRUE(client.Send("question\n"));
    // Later requests of message mode use the first connection.
    if (i == 0 || GetParam() != ForwardingMode::kMessage) server = local.Accept();
    ASSERT_TRUE(server);
    EXPECT_EQ(server.Read(9), "question\n");
    ASSERT_TRUE(server.Send("answer\n"));
    EXPECT_EQ(client.Read(7), "answer\n");
  }
  EXPECT_EQ(tunnel.worker().connect_refused.Value(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, AddressesTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
