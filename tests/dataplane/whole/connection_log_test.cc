// The connection log of a whole proxy: each way in which a client connection ends leaves one line
// with the end, the side that ended it, and what passed until then.
#include "dataplane/log/connection_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1.h"
#include "dataplane/codec/redis.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/log_lines.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectExchange;
using test::ExpectFields;
using test::HasTime;
using test::HeaderFrom;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

using Line = test::LogLine;
constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

std::string OwnAddressOf(const Peer& peer) { return OwnAddress(peer.fd()).ToString(); }

class ConnectionLogFixture : public ::testing::Test {
 protected:
  // Starts the proxy in front of server_.
  void Serve(ForwardingMode mode, Tunnel::Options options = {},
             ConnectionLog::Options log = {.proxy_id = "proxy-1"}) {
    StartProxy(mode, std::move(options), std::move(log));
    test::Serve(*tunnel_, mode, server_);
  }
  void StartProxy(ForwardingMode mode, Tunnel::Options options,
                  ConnectionLog::Options log = {.proxy_id = "proxy-1"}) {
    mode_ = mode;
    log_ = std::make_shared<ConnectionLog>(OpenConnectionLog(path_).value(), std::move(log));
    options.connection_log = log_;
    tunnel_.emplace(InMode(mode, std::move(options)));
  }
  static Tunnel::Options WithCodec(std::shared_ptr<const Codec> codec) {
    return {.adapt = [codec = std::move(codec)](EndpointSet& set) {
      auto message = std::make_shared<MessageService>(*set.message);
      message->connection.codec = codec;
      message->max_shared = 1;
      set.message = std::move(message);
    }};
  }

  // Connects a client and, by a first exchange, its server's end.
  std::pair<Peer, Peer> ConnectBoth() {
    Peer client = tunnel_->Connect();
    EXPECT_TRUE(client.Send("ask\n"));
    Peer server = server_.Accept();
    EXPECT_EQ(server.Read(4), "ask\n");
    EXPECT_TRUE(server.Send("answer\n"));
    EXPECT_EQ(client.Read(7), "answer\n");
    return {std::move(client), std::move(server)};
  }
  std::vector<Line> Lines() {
    EXPECT_TRUE(log_->Flush());
    return test::ReadLogLines(path_);
  }
  // Waits for the only line.
  Line TheLine() {
    EXPECT_TRUE(Eventually([&] { return Lines().size() == 1; })) << Lines().size() << " lines";
    return Lines().empty() ? Line() : Lines().front();
  }
  void ExpectEnd(const std::string& end, const std::string& ended_by, const std::string& phase) {
    ExpectFields(TheLine(), {{"end", end}, {"ended_by", ended_by}, {"phase", phase}});
  }
  bool is_message() const { return mode_ == ForwardingMode::kMessage; }

  test::ScratchFolder folder_;
  const std::string path_ = folder_.File("connections.log");
  std::shared_ptr<ConnectionLog> log_;
  LocalServer server_;
  ForwardingMode mode_ = ForwardingMode::kTunnel;
  std::atomic<bool> short_of_memory_ = false;  // read by the proxy's worker
  std::optional<Tunnel> tunnel_;
};

class ConnectionLogOfModeTest : public ConnectionLogFixture,
                                public ::testing::WithParamInterface<ForwardingMode> {};
INSTANTIATE_TEST_SUITE_P(Modes, ConnectionLogOfModeTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);
class ConnectionLogOfByteModeTest : public ConnectionLogOfModeTest {};
INSTANTIATE_TEST_SUITE_P(Modes, ConnectionLogOfByteModeTest, ::testing::ValuesIn(test::kByteModes),
                         test::kNameOfMode);

TEST_P(ConnectionLogOfModeTest, LineTellsTheWholeConnection) {
  Serve(GetParam());
  auto [client, server] = ConnectBoth();
  const std::string address = OwnAddressOf(client);
  ExpectExchange(client, server, "more\n", "and more\n");
  EXPECT_TRUE(Lines().empty()) << "before the end";
  client.ShutdownWrite();
  if (!is_message()) {
    EXPECT_EQ(server.ReadToEnd(), "");
    server.Close();
  }
  client.ReadToEnd();
  const Line line = TheLine();
  ExpectFields(line, {{"type", "connection"},
                      {"proxy", "proxy-1"},
                      {"service", "db"},
                      {"mode", std::string(ModeName(GetParam()))},
                      {"listener", tunnel_->listening().ToString()},
                      {"client", address},
                      {"endpoint", "e0"},
                      {"to_server_bytes", "9"},
                      {"to_client_bytes", "16"},
                      {"requests", is_message() ? "2" : "-"},
                      {"retries", "0"},
                      {"header_ms", "-"},
                      {"end", "clean"},
                      {"ended_by", "client"}});
  EXPECT_EQ(line.at("phase"), is_message() ? "request" : "data");
  for (const std::string time : {"queue_ms", "first_byte_ms", "total_ms"}) {
    EXPECT_TRUE(HasTime(line, time)) << time;
  }
  EXPECT_EQ(HasTime(line, "connect_ms"), !is_message()) << line.at("connect_ms");
}

TEST_P(ConnectionLogOfModeTest, ResetOfTheClientIsTheClients) {
  Serve(GetParam());
  auto [client, server] = ConnectBoth();
  ASSERT_TRUE(client.Send("late\n"));
  ASSERT_EQ(server.Read(5), "late\n");
  client.Reset();
  ExpectEnd("client_reset", "client", "data");
}

TEST_P(ConnectionLogOfModeTest, ConnectionWithoutAnEndpointEndsInTheQueue) {
  StartProxy(GetParam(), {.limits = {.connect_timeout = absl::Milliseconds(100)}});
  tunnel_->Apply();
  Peer client = tunnel_->Connect();
  if (is_message()) {
    ASSERT_TRUE(client.Send("ask\n"));
  }
  client.ReadToEnd();
  ExpectEnd("no_endpoint", "proxy", "queue");
  ExpectFields(
      TheLine(),
      {{"endpoint", "-"}, {"queue_ms", "-"}, {"first_byte_ms", "-"}, {"to_client_bytes", "0"}});
}

TEST_P(ConnectionLogOfModeTest, SilentConnectionTimesOut) {
  Serve(GetParam(), {.limits = {.idle_timeout = absl::Seconds(1)}});
  auto [client, server] = ConnectBoth();
  client.ReadToEnd();
  ExpectEnd("timeout", "proxy", is_message() ? "request" : "data");
}

TEST_P(ConnectionLogOfModeTest, ConnectionsThatTheEndOfTheProxyResetsAreWritten) {
  Serve(GetParam());
  auto [client, server] = ConnectBoth();
  tunnel_.reset();
  ExpectEnd("shutdown", "proxy", is_message() ? "request" : "data");
}

TEST_P(ConnectionLogOfModeTest, ClientAboveItsSourcesLimitIsLogged) {
  for (const bool by_header : {false, true}) {
    SCOPED_TRACE(by_header);
    std::filesystem::remove(path_);
    Serve(GetParam(), test::Introduced(by_header, {.limits = {.max_clients_per_source = 1}}));
    const std::string header = by_header ? HeaderFrom("192.0.2.1:1") : "";
    Peer first = tunnel_->Connect();
    ASSERT_TRUE(first.Send(header));
    ASSERT_TRUE(Eventually([&] { return tunnel_->sources().size() == 1; }));
    Peer second = tunnel_->Connect();
    const std::string address = by_header ? "192.0.2.1:1" : OwnAddressOf(second);
    ASSERT_TRUE(second.Send(header));
    second.ReadToEnd();
    const std::string before = by_header ? "header" : is_message() ? "request" : "queue";
    ExpectEnd("source_limit", "proxy", before);
    EXPECT_EQ(TheLine()["client"], address);
    first.Reset();
    tunnel_.reset();
  }
}

TEST_P(ConnectionLogOfModeTest, ClientBehindAnotherProxyIsTheOneOfItsHeader) {
  Serve(GetParam(), test::Introduced(true, {}));
  Peer client = tunnel_->Connect();
  ASSERT_TRUE(client.Send(HeaderFrom("192.0.2.1:50000") + "ask\n"));
  Peer server = server_.Accept();
  ASSERT_EQ(server.Read(4), "ask\n");
  ASSERT_TRUE(server.Send("answer\n"));
  ASSERT_EQ(client.Read(7), "answer\n");
  client.Reset();
  ExpectEnd("client_reset", "client", is_message() ? "request" : "data");
  Line line = TheLine();
  EXPECT_EQ(line["client"], "192.0.2.1:50000");
  EXPECT_EQ(line["listener"], "198.51.100.1:443");
  EXPECT_EQ(line["to_server_bytes"], "4") << "without the header";
  EXPECT_TRUE(HasTime(line, "header_ms"));
}

TEST_P(ConnectionLogOfModeTest, ClientWithoutTheRequiredHeaderIsLogged) {
  Serve(GetParam(), test::Introduced(true, {}));
  Peer client = tunnel_->Connect();
  ASSERT_TRUE(client.Send("no header\n"));
  client.ReadToEnd();
  ExpectEnd("proxy_header", "proxy", "header");
  EXPECT_EQ(TheLine()["header_ms"], "-");
}

TEST_P(ConnectionLogOfModeTest, OtherServicesAreNotLogged) {
  Serve(GetParam(), {}, {.services = {"other"}});
  auto [client, server] = ConnectBoth();
  client.Reset();
  ASSERT_TRUE(Eventually([&] { return tunnel_->clients() == 0; }));
  EXPECT_TRUE(Lines().empty());
}

TEST_P(ConnectionLogOfModeTest, SampleOfNoneStillLogsErrors) {
  Serve(GetParam(), {}, {.sample = 0});
  {
    auto [client, server] = ConnectBoth();
    client.ShutdownWrite();
    server.Close();
    client.ReadToEnd();
  }
  ASSERT_TRUE(Eventually([&] { return tunnel_->clients() == 0; }));
  EXPECT_TRUE(Lines().empty());
  auto [client, server] = ConnectBoth();
  client.Reset();
  ASSERT_TRUE(Eventually([&] { return tunnel_->clients() == 0; }));
  EXPECT_EQ(TheLine()["end"], "client_reset");
}

TEST_P(ConnectionLogOfByteModeTest, ServerWhoseFINComesFirstEndsTheConnection) {
  Serve(GetParam());
  auto [client, server] = ConnectBoth();
  server.ShutdownWrite();
  EXPECT_EQ(client.ReadToEnd(), "");
  client.Close();
  ExpectEnd("clean", "server", "data");
}

TEST_P(ConnectionLogOfByteModeTest, ResetOfTheServerIsTheServers) {
  Serve(GetParam());
  auto [client, server] = ConnectBoth();
  server.Reset();
  client.ReadToEnd();
  ExpectEnd("server_reset", "server", "data");
}

TEST_P(ConnectionLogOfByteModeTest, RefusedConnectIsLoggedWithItsRetriesAndLastEndpoint) {
  StartProxy(GetParam(), {});
  if (GetParam() == ForwardingMode::kTunnel) {
    tunnel_->AddAgent(test::RefusingAddress());
    tunnel_->Start();
  } else {
    tunnel_->AddEndpoint(test::RefusingAddress());
    tunnel_->Apply();
  }
  Peer client = tunnel_->Connect();
  client.ReadToEnd();
  ExpectEnd("connect_refused", "server", "connect");
  ExpectFields(TheLine(),
               {{"endpoint", "e0"}, {"retries", "2"}, {"connect_ms", "-"}, {"first_byte_ms", "-"}});
  EXPECT_TRUE(HasTime(TheLine(), "queue_ms"));
}

TEST_P(ConnectionLogOfByteModeTest, SheddingAndTheBytesThatTheClientNeverGotAreLogged) {
  constexpr int64_t kBudget = 1 << 30;
  Serve(GetParam(), {.memory = [this](const TrafficStats&) {
          return MemoryReading{.used_bytes = short_of_memory_ ? kBudget : 0,
                               .budget_bytes = kBudget};
        }});
  tunnel_->LimitSendBuffers(4 * 1024);
  Peer client = tunnel_->Connect(/*receive_buffer=*/8 * 1024);
  Peer server = server_.Accept();
  const std::string reply(160 * 1024, 'r');
  ASSERT_TRUE(server.Send(reply));
  ASSERT_TRUE(Eventually([&] { return tunnel_->worker().to_client_buffered_bytes.Value() > 0; }));
  short_of_memory_ = true;
  ExpectEnd("memory", "proxy", "data");
  const uint64_t taken = tunnel_->cell(0).bytes_to_client.Value();  // by the client's socket
  EXPECT_LT(taken, reply.size());
  EXPECT_EQ(TheLine()["to_client_bytes"], absl::StrCat(taken));
}

class ConnectionLogOfTunnelTest : public ConnectionLogFixture {};

TEST_F(ConnectionLogOfTunnelTest, LostTrunkIsTheServers) {
  Serve(ForwardingMode::kTunnel);
  auto [client, server] = ConnectBoth();
  tunnel_->Kill(0);
  client.ReadToEnd();
  ExpectEnd("trunk_lost", "server", "data");
}

class ConnectionLogOfMessageTest : public ConnectionLogFixture {};

TEST_F(ConnectionLogOfMessageTest, LostSharedConnectionIsTheServers) {
  Serve(ForwardingMode::kMessage);
  auto [client, server] = ConnectBoth();
  ASSERT_TRUE(client.Send("late\n"));
  ASSERT_EQ(server.Read(5), "late\n");
  server.Reset();
  client.ReadToEnd();
  ExpectEnd("connection_lost", "server", "data");
}

TEST_F(ConnectionLogOfMessageTest, LastReplyOfTheServerEndsTheConnection) {
  Serve(ForwardingMode::kMessage, WithCodec(NewHttp1Codec({})));
  Peer client = tunnel_->Connect();
  ASSERT_TRUE(client.Send(kGet));
  Peer server = server_.Accept();
  ASSERT_EQ(server.Read(sizeof kGet - 1), kGet);
  ASSERT_TRUE(server.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
  client.ReadToEnd();
  ExpectEnd("clean", "server", "request");
}

TEST_F(ConnectionLogOfMessageTest, LocalReplyToABadRequestCountsAsBytesToTheClient) {
  Serve(ForwardingMode::kMessage, WithCodec(NewHttp1Codec({})));
  Peer client = tunnel_->Connect();
  ASSERT_TRUE(client.Send("hello\r\n"));
  const std::string reply = client.ReadToEnd();
  ExpectEnd("bad_request", "proxy", "request");
  ExpectFields(TheLine(), {{"to_client_bytes", absl::StrCat(reply.size())},
                           {"requests", "0"},
                           {"to_server_bytes", "0"},
                           {"first_byte_ms", "-"}});
}

TEST_F(ConnectionLogOfMessageTest, ClientThatStallsWhileOthersWaitIsASlowReader) {
  Serve(ForwardingMode::kMessage, WithCodec(NewRedisCodec({})));
  Peer slow = tunnel_->Connect(/*receive_buffer=*/4096);
  ASSERT_TRUE(slow.Send("GET a\r\n"));
  Peer server = server_.Accept();
  ASSERT_EQ(server.Read(7), "GET a\r\n");
  const std::string huge = absl::StrCat("$", 32 << 20, "\r\n", std::string(32 << 20, 'r'));
  size_t sent = server.SendWhatFits(huge);
  const auto buffered = [&] {
    sent += server.SendWhatFits(huge.substr(sent, 1 << 20));
    return tunnel_->worker().to_client_buffered_bytes.Value() > 256 * 1024;
  };
  ASSERT_TRUE(Eventually(buffered));
  Peer other = tunnel_->Connect();
  ASSERT_TRUE(other.Send("GET b\r\n"));
  // The other client's line may follow.
  ASSERT_TRUE(Eventually([&] { return !Lines().empty(); }));
  EXPECT_EQ(tunnel_->worker().slow_readers.Value(), 1u);
  ExpectFields(Lines()[0], {{"end", "slow_reader"}, {"ended_by", "proxy"}, {"phase", "data"}});
}

TEST_F(ConnectionLogOfMessageTest, DedicatedConnectionHasItsOwnConnectAndOneLine) {
  Serve(ForwardingMode::kMessage, WithCodec(NewRedisCodec({})));
  Peer client = tunnel_->Connect();
  ASSERT_TRUE(client.Send("PING\r\n"));
  Peer shared = server_.Accept();
  ASSERT_EQ(shared.Read(6), "PING\r\n");
  ASSERT_TRUE(shared.Send("+PONG\r\n"));
  ASSERT_EQ(client.Read(7), "+PONG\r\n");
  ASSERT_TRUE(client.Send("MULTI\r\n"));
  Peer dedicated = server_.Accept();
  ASSERT_EQ(dedicated.Read(7), "MULTI\r\n");
  ASSERT_TRUE(dedicated.Send("+OK\r\n"));
  ASSERT_EQ(client.Read(5), "+OK\r\n");
  client.Reset();
  ExpectEnd("client_reset", "client", "data");
  ExpectFields(TheLine(), {{"mode", "message"},
                           {"requests", "1"},
                           {"to_server_bytes", "13"},
                           {"to_client_bytes", "12"}});
  EXPECT_TRUE(HasTime(TheLine(), "connect_ms"));
}

}  // namespace
}  // namespace trunkline
