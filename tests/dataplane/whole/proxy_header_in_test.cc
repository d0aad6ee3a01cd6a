// Clients of a proxy behind another one begin with a PROXY protocol header. Covers each forwarding
// mode.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/table/endpoint_set.h"
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
using test::Tunnel;

constexpr char kClient[] = "192.0.2.1:50000";

class ProxyHeaderInTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  ProxyHeaderInTest() : ProxyHeaderInTest(absl::Minutes(5)) {}
  explicit ProxyHeaderInTest(absl::Duration first_byte_timeout)
      : tunnel_(InMode(GetParam(),
                       {.limits = {.first_byte_timeout = first_byte_timeout},
                        .adapt = [](EndpointSet& set) { set.accept_proxy_protocol = true; }})) {
    test::Serve(tunnel_, GetParam(), server_);
  }

  void ExpectNoClientsLeft() {
    EXPECT_TRUE(Eventually([&] { return tunnel_.clients() == 0; }));
    EXPECT_FALSE(server_.Knocked(0)) << "the connection reached the server";
  }
  uint64_t bad_headers() { return tunnel_.worker().bad_headers.Value(); }

  LocalServer server_;
  Tunnel tunnel_;
};

TEST_P(ProxyHeaderInTest, DataBehindTheHeaderReachesTheServerWithoutIt) {
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    Peer client = tunnel_.Connect();
    ASSERT_TRUE(client.Send(HeaderFrom(kClient, version) + "hello\n"));
    Peer server = server_.Accept();
    EXPECT_EQ(server.Read(6), "hello\n");
    ASSERT_TRUE(server.Send("world\n"));
    EXPECT_EQ(client.Read(6), "world\n");
    client.Close();
    server.Close();
    // In message mode the next client would reuse this connection.
    ASSERT_TRUE(Eventually([&] { return tunnel_.clients() == 0; }));
    ASSERT_TRUE(Eventually([&] { return tunnel_.worker().shared_connections.Value() == 0; }));
  }
  EXPECT_EQ(bad_headers(), 0u);
}

TEST_P(ProxyHeaderInTest, HeaderMayArriveByteByByte) {
  // Includes a TLV of three bytes, and data behind it in the last piece.
  std::string header = HeaderFrom(kClient, ProxyVersion::kV2);
  header[15] = 12 + 3;
  header += std::string("\x04\x00\x00", 3);
  Peer client = tunnel_.Connect();
  for (size_t i = 0; i + 1 < header.size(); ++i) ASSERT_TRUE(client.Send(header.substr(i, 1)));
  ASSERT_TRUE(Eventually([&] { return tunnel_.clients() == 1; }));
  EXPECT_FALSE(server_.Knocked(30));
  ASSERT_TRUE(client.Send(header.substr(header.size() - 1) + "hello\n"));
  Peer server = server_.Accept();
  EXPECT_EQ(server.Read(6), "hello\n");
}

TEST_P(ProxyHeaderInTest, MuchDataBehindTheHeaderArrivesComplete) {
  if (GetParam() == ForwardingMode::kMessage)
    GTEST_SKIP() << "so many requests need replies in between";
  std::string data;
  while (data.size() < 1'000'000) data += "line " + std::to_string(data.size()) + "\n";
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send(HeaderFrom(kClient) + data.substr(0, 1000)));
  Peer server = server_.Accept();
  std::thread sender([&] { EXPECT_TRUE(client.Send(data.substr(1000))); });
  EXPECT_EQ(server.Read(data.size()), data);
  sender.join();
}

TEST_P(ProxyHeaderInTest, ClientWithoutAValidHeaderIsReset) {
  for (const std::string words : {"GET / HTTP/1.1\r\n\r\n", "\n", "PROXY TCP4 1.2.3.4\r\nhello\n",
                                  "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\nhello\n"}) {
    const uint64_t before = bad_headers();
    Peer client = tunnel_.Connect();
    ASSERT_TRUE(client.Send(words));
    client.ReadToEnd();
    EXPECT_EQ(client.ending(), Ending::kReset) << words;
    EXPECT_TRUE(Eventually([&] { return bad_headers() == before + 1; })) << words;
  }
  ExpectNoClientsLeft();
}

TEST_P(ProxyHeaderInTest, ClientThatEndsWithinTheHeaderIsReset) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send("PROXY TCP4 192.0.2.1"));
  client.ShutdownWrite();
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return bad_headers() == 1; }));
  ExpectNoClientsLeft();
}

TEST_P(ProxyHeaderInTest, HealthCheckWithoutAByteIsNotAnError) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(Eventually([&] { return tunnel_.clients() == 1; }));
  client.ShutdownWrite();
  client.ReadToEnd();
  EXPECT_EQ(client.ending(), Ending::kFin);
  ExpectNoClientsLeft();
  EXPECT_EQ(bad_headers(), 0u);
}

TEST_P(ProxyHeaderInTest, HealthCheckWithAHeaderOfItsOwnIsServed) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send(WriteProxyHeader(ProxyVersion::kV2, {}) + "hello\n"));
  Peer server = server_.Accept();
  EXPECT_EQ(server.Read(6), "hello\n");
}

TEST_P(ProxyHeaderInTest, ClientThatResetsWithinTheHeaderIsReleased) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send("PROXY "));
  ASSERT_TRUE(Eventually([&] { return tunnel_.clients() == 1; }));
  client.Reset();
  ExpectNoClientsLeft();
  EXPECT_TRUE(Eventually([&] { return tunnel_.worker().client_reset.Value() == 1; }));
}

TEST_P(ProxyHeaderInTest, FinRightBehindTheHeaderReachesTheServer) {
  if (GetParam() == ForwardingMode::kMessage)
    GTEST_SKIP() << "a client without a request reaches no server";
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send(HeaderFrom(kClient)));
  client.ShutdownWrite();
  Peer server = server_.Accept();
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(server.ending(), Ending::kFin);
  ASSERT_TRUE(server.Send("late words"));
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "late words");
  EXPECT_EQ(client.ending(), Ending::kFin);
}

TEST_P(ProxyHeaderInTest, DrainKeepsClientsWithoutACompleteHeader) {
  Peer client = tunnel_.Connect();
  ASSERT_TRUE(client.Send("PROXY "));
  ASSERT_TRUE(Eventually([&] { return tunnel_.clients() == 1; }));
  tunnel_.data_plane().Drain(absl::ZeroDuration());
  EXPECT_EQ(tunnel_.clients(), 1) << "the client may finish until the proxy stops";
}

INSTANTIATE_TEST_SUITE_P(Modes, ProxyHeaderInTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

class ImpatientProxyHeaderTest : public ProxyHeaderInTest {
 protected:
  ImpatientProxyHeaderTest() : ProxyHeaderInTest(absl::Milliseconds(100)) {}
};

TEST_P(ImpatientProxyHeaderTest, ClientIsResetIfItsHeaderDoesNotArriveInTime) {
  Peer silent = tunnel_.Connect();
  Peer slow = tunnel_.Connect();
  ASSERT_TRUE(slow.Send("PROXY TCP4 "));
  silent.ReadToEnd();
  slow.ReadToEnd();
  EXPECT_EQ(silent.ending(), Ending::kReset);
  EXPECT_EQ(slow.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return tunnel_.worker().timeouts.Value() == 2; }));
  ExpectNoClientsLeft();
}

TEST_P(ImpatientProxyHeaderTest, TricklingHeaderGetsNoMoreTime) {
  // Includes a TLV of 500 bytes.
  constexpr size_t kPadding = 500;
  constexpr int kMillisBetween = 5;
  std::string header = HeaderFrom(kClient, ProxyVersion::kV2);
  const size_t length = 12 + 3 + kPadding;
  header[14] = static_cast<char>(length >> 8);
  header[15] = static_cast<char>(length & 0xff);
  header += std::string("\x04\x01\xf4", 3) + std::string(kPadding, 'x');
  Peer client = tunnel_.Connect();
  size_t sent = 0;
  while (sent < header.size() && !test::WaitFor(client.fd(), POLLIN, kMillisBetween)) {
    if (client.SendWhatFits(header.substr(sent, 1)) == 0) break;
    ++sent;
  }
  EXPECT_LT(sent, header.size());
  ExpectNoClientsLeft();
}

INSTANTIATE_TEST_SUITE_P(Modes, ImpatientProxyHeaderTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
