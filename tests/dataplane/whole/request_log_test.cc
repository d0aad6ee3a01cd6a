// The line of a request in the connection log, in each protocol of message mode: what it tells of a
// request that is answered, and of one that is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/log_lines.h"
#include "tests/dataplane/whole/request_log_fixture.h"

namespace trunkline {
namespace {

using test::Exchange;
using test::ExpectFields;
using test::FrameWithId;
using test::HasTime;
using test::ModbusMessage;
using test::Peer;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Line = test::LogLine;
using namespace std::string_literals;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// An exchange in one protocol.
struct Spoken {
  std::shared_ptr<const Codec> codec;
  std::string request;
  // The server's reply to the request as it arrived there.
  std::function<std::string(const std::string& request)> reply;
};

constexpr const char* kProtocols[] = {
    "Delimiter", "LengthField", "LengthFieldWithId", "ModbusTcp", "Redis", "Memcached", "Http1"};

Spoken ExchangeIn(const std::string& protocol) {
  const auto always = [](std::string reply) {
    return [reply = std::move(reply)](const std::string&) { return reply; };
  };
  const std::map<std::string, std::function<Spoken()>> all = {
      {"Delimiter",
       [&] {
         return Spoken{test::Lines(), "ask\n", always("answer\n")};
       }},
      {"LengthField",
       [&] {
         return Spoken{test::Frames(), "\0\3ask"s, always("\0\6answer"s)};
       }},
      {"LengthFieldWithId",
       [&] {
         return Spoken{test::FramesWithId(), FrameWithId(7, "ask"), [](const std::string& asked) {
                         return FrameWithId(test::IdOf(asked), "answer");
                       }};
       }},
      {"ModbusTcp",
       [&] {
         return Spoken{test::Modbus(), ModbusMessage(7, "\5\3\0\1\0\1"s),
                       [](const std::string& asked) {
                         return ModbusMessage(test::IdOf(asked), "\5\3\2\0\7"s);
                       }};
       }},
      {"Redis",
       [&] {
         return Spoken{test::Redis(), "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", always("$6\r\nanswer\r\n")};
       }},
      {"Memcached",
       [&] {
         return Spoken{test::Memcached(), "get a\r\n", always("VALUE a 0 1\r\nx\r\nEND\r\n")};
       }},
      {"Http1",
       [&] {
         return Spoken{test::Http(), kGet,
                       always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")};
       }},
  };
  return all.at(protocol)();
}

class RequestLogOfProtocolTest : public test::RequestLogTest,
                                 public ::testing::WithParamInterface<const char*> {
 protected:
  // A client that has sent its request, which the server has read. Returns the server's end.
  Peer Ask(Peer& client) {
    EXPECT_TRUE(client.Send(spoken_.request));
    Peer server = local_.Accept();
    EXPECT_EQ(server.Read(spoken_.request.size()).size(), spoken_.request.size());
    return server;
  }

  const Spoken spoken_ = ExchangeIn(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Protocols, RequestLogOfProtocolTest, ::testing::ValuesIn(kProtocols),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(RequestLogOfProtocolTest, LineTellsTheWholeRequestWhileItsClientGoesOn) {
  StartLogged({.codec = spoken_.codec});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(spoken_.request));
  Peer server = local_.Accept();
  const auto answer = [&] {
    const std::string asked = server.Read(spoken_.request.size());
    const std::string reply = spoken_.reply(asked);
    ASSERT_TRUE(server.Send(reply));
    ASSERT_EQ(client.Read(reply.size()), spoken_.reply(spoken_.request));
  };
  answer();
  const std::string reply_bytes = absl::StrCat(spoken_.reply(spoken_.request).size());
  const Line expected = {{"proxy", "p"},
                         {"service", "db"},
                         {"mode", "message"},
                         {"listener", exchange_->listening().ToString()},
                         {"client", OwnAddress(client.fd()).ToString()},
                         {"endpoint", "e0"},
                         {"header_ms", "-"},
                         {"connect_ms", "-"},
                         {"to_server_bytes", absl::StrCat(spoken_.request.size())},
                         {"to_client_bytes", reply_bytes},
                         {"requests", "-"},
                         {"retries", "0"},
                         {"end", "clean"},
                         {"ended_by", "server"},
                         {"phase", "data"}};
  const Line line = ExpectRequests({expected})[0];
  for (const std::string time : {"queue_ms", "first_byte_ms", "total_ms"}) {
    EXPECT_TRUE(HasTime(line, time)) << time;
  }
  EXPECT_THAT(LinesOf("connection"), IsEmpty());
  ASSERT_TRUE(client.Send(spoken_.request));
  answer();
  ExpectRequests({expected, expected});
  client.ShutdownWrite();
  client.ReadToEnd();
  ExpectGone();
  const std::vector<Line> connections = LinesOf("connection");
  ASSERT_THAT(connections, SizeIs(1));
  ExpectFields(connections[0], {{"requests", "2"}, {"end", "clean"}, {"ended_by", "client"}});
}

TEST_P(RequestLogOfProtocolTest, RequestsAreNotLoggedUnlessAsked) {
  StartLogged({.codec = spoken_.codec}, {.proxy_id = "p"});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(spoken_.request));
  Peer server = local_.Accept();
  const std::string reply = spoken_.reply(server.Read(spoken_.request.size()));
  ASSERT_TRUE(server.Send(reply));
  ASSERT_EQ(client.Read(reply.size()).size(), reply.size());
  client.Reset();
  ExpectGone();
  EXPECT_THAT(LinesOf("connection"), SizeIs(1));
  EXPECT_THAT(LinesOf("request"), IsEmpty());
}

TEST_P(RequestLogOfProtocolTest, ClientThatLeavesBeforeTheReplyEndsItsRequest) {
  StartLogged({.codec = spoken_.codec});
  Peer client = Connect();
  Peer server = Ask(client);
  client.Reset();
  ExpectRequests({{{"end", "client_reset"},
                   {"ended_by", "client"},
                   {"phase", "data"},
                   {"endpoint", "e0"},
                   {"first_byte_ms", "-"},
                   {"to_client_bytes", "0"}}});
}

TEST_P(RequestLogOfProtocolTest, LostConnectionIsTheServers) {
  StartLogged({.codec = spoken_.codec});
  Peer client = Connect();
  Peer server = Ask(client);
  server.Reset();
  const std::string local_reply = client.ReadToEnd();
  ExpectRequests({{{"end", "connection_lost"},
                   {"ended_by", "server"},
                   {"phase", "data"},
                   {"endpoint", "e0"},
                   {"first_byte_ms", "-"},
                   {"to_client_bytes", absl::StrCat(local_reply.size())}}});
}

TEST_P(RequestLogOfProtocolTest, RequestWithoutAnEndpointEndsInTheQueue) {
  Exchange::Options options = {.codec = spoken_.codec};
  options.limits.connect_timeout = absl::Milliseconds(100);
  StartLoggedWith({}, options);
  Peer client = Connect();
  ASSERT_TRUE(client.Send(spoken_.request));
  const std::string local_reply = client.ReadToEnd();
  ExpectRequests({{{"end", "no_endpoint"},
                   {"ended_by", "proxy"},
                   {"phase", "queue"},
                   {"endpoint", "-"},
                   {"queue_ms", "-"},
                   {"first_byte_ms", "-"},
                   {"to_server_bytes", "0"},
                   {"to_client_bytes", absl::StrCat(local_reply.size())}}});
}

TEST_P(RequestLogOfProtocolTest, IncompleteRequestIsNone) {
  StartLogged({.codec = spoken_.codec});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(spoken_.request.substr(0, spoken_.request.size() - 1)));
  client.ShutdownWrite();
  client.ReadToEnd();
  ExpectGone();
  EXPECT_THAT(LinesOf("connection"), SizeIs(1));
  EXPECT_THAT(LinesOf("request"), IsEmpty());
}

TEST_P(RequestLogOfProtocolTest, EndOfTheProxyEndsItsRequests) {
  StartLogged({.codec = spoken_.codec});
  Peer client = Connect();
  Peer server = Ask(client);
  exchange_->Stop();
  ExpectRequests({{{"end", "shutdown"}, {"ended_by", "proxy"}, {"phase", "data"}}});
}

TEST_P(RequestLogOfProtocolTest, ReplyThatTimesOutIsATimeout) {
  StartLogged({.codec = spoken_.codec, .reply_timeout = absl::Milliseconds(50)});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(spoken_.request));
  ExpectRequests({{{"end", "timeout"},
                   {"ended_by", "proxy"},
                   {"phase", "data"},
                   {"endpoint", "e0"},
                   {"first_byte_ms", "-"}}});
}

}  // namespace
}  // namespace trunkline
