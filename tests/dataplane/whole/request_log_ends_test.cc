// Lines of requests in the connection log: each has its own endpoint, bytes, retries and end,
// whatever its client's other requests do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/log_lines.h"
#include "tests/dataplane/whole/request_log_fixture.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectCarried;
using test::HasTime;
using test::LocalServer;
using test::ModbusMessage;
using test::Peer;
using ::testing::AllOf;
using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::SizeIs;
using Line = test::LogLine;
using namespace std::string_literals;

class RequestLogEndsTest : public test::RequestLogTest {};

TEST_F(RequestLogEndsTest, EachRequestOfAPipelineHasItsOwnLine) {
  StartLogged({.codec = test::Redis()});
  Peer client = Connect();
  Peer server = AcceptFor(client, "GET a\r\nGET bb\r\nGET ccc\r\n");
  ASSERT_TRUE(server.Send("$1\r\na\r\n$-1\r\n+"));
  ExpectRequests({{{"to_server_bytes", "7"}, {"to_client_bytes", "7"}, {"end", "clean"}},
                  {{"to_server_bytes", "8"}, {"to_client_bytes", "5"}, {"end", "clean"}}});
  EXPECT_EQ(client.Read(13), "$1\r\na\r\n$-1\r\n+");
  server.Reset();
  client.ReadToEnd();
  const Line lost =
      ExpectRequests({{}, {}, {{"end", "connection_lost"}, {"to_client_bytes", "1"}}})[2];
  EXPECT_TRUE(HasTime(lost, "first_byte_ms"));
}

TEST_F(RequestLogEndsTest, EachRequestNamesItsOwnEndpoint) {
  LocalServer other;
  StartLoggedWith({local_.address(), other.address()}, {});
  UseOnly(0);
  Peer client = Connect();
  Peer first = AcceptFor(client, "a\n");
  ExpectCarried(first, client, "A\n");
  UseOnly(1);
  ASSERT_TRUE(client.Send("b\n"));
  Peer second = other.Accept();
  ASSERT_EQ(second.Read(2), "b\n");
  ExpectCarried(second, client, "B\n");
  UseOnly(0);
  ASSERT_TRUE(client.Send("c\n"));
  ASSERT_EQ(first.Read(2), "c\n");
  ExpectCarried(first, client, "C\n");
  ExpectRequests({{{"endpoint", "e0"}}, {{"endpoint", "e1"}}, {{"endpoint", "e0"}}});
}

TEST_F(RequestLogEndsTest, RequestsThatAreSentAgainCountTheirRetriesAndNameTheLastEndpoint) {
  LocalServer other;
  StartLoggedWith({local_.address(), other.address()},
                  {.codec = test::Redis(), .idempotent = true});
  UseOnly(0);
  Peer client = Connect();
  Peer first = AcceptFor(client, "GET a\r\nGET b\r\n");
  UseOnly(1);
  first.Reset();
  Peer second = other.Accept();
  ASSERT_EQ(second.Read(14), "GET a\r\nGET b\r\n");
  ASSERT_TRUE(second.Send("+a\r\n+b\r\n"));
  ASSERT_EQ(client.Read(8), "+a\r\n+b\r\n");
  const Line again = {{"endpoint", "e1"},
                      {"retries", "1"},
                      {"to_server_bytes", "7"},
                      {"to_client_bytes", "4"},
                      {"end", "clean"}};
  ExpectRequests({again, again});
  client.Reset();
  ExpectGone();
  EXPECT_EQ(LinesOf("connection")[0]["retries"], "2");
  EXPECT_EQ(exchange_->worker().retries.Value(), 2u);
}

TEST_F(RequestLogEndsTest, RequestThatWaitsToBeSentAgainEndsInTheQueue) {
  StartLogged({.codec = test::Redis(), .idempotent = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "GET a\r\n");
  exchange_->SetWeight(0, 0);
  exchange_->Apply();
  server.Reset();
  ASSERT_TRUE(Eventually([&] { return shared().resent.Value() == 1; }));
  exchange_->Stop();
  ExpectRequests({{{"end", "shutdown"},
                   {"ended_by", "proxy"},
                   {"phase", "queue"},
                   {"endpoint", "e0"},
                   {"retries", "0"}}});
}

// Replies come in order, so the requests behind the late one lose their connection.
TEST_F(RequestLogEndsTest, OnlyTheLateRequestOfAPipelineTimesOut) {
  StartLogged({.codec = test::Redis(), .reply_timeout = absl::Milliseconds(50)});
  Peer client = Connect();
  Peer server = AcceptFor(client, "GET a\r\nGET b\r\n");
  client.ReadToEnd();
  ExpectRequests({{{"end", "timeout"}, {"ended_by", "proxy"}},
                  {{"end", "connection_lost"}, {"ended_by", "server"}}});
}

TEST_F(RequestLogEndsTest, SilentUnitIsATimeoutOfARequestWhoseClientGoesOn) {
  StartLogged({.codec = test::Modbus(), .reply_timeout = absl::Milliseconds(50)});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(ModbusMessage(1, "\x9\3\0\1\0\1"s)));
  ASSERT_EQ(client.Read(9), ModbusMessage(1, "\x09\x83\x0b"));
  ExpectRequests({{{"end", "timeout"},
                   {"ended_by", "proxy"},
                   {"endpoint", "e0"},
                   {"first_byte_ms", "-"},
                   {"to_client_bytes", "9"}}});
  EXPECT_EQ(exchange_->clients(), 1);
}

TEST_F(RequestLogEndsTest, BadRequestHasALineWithItsLocalReply) {
  StartLogged({.codec = test::Http()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("hello\r\n"));
  const std::string reply = client.ReadToEnd();
  ASSERT_NE(reply, "");
  ExpectRequests({{{"end", "bad_request"},
                   {"ended_by", "proxy"},
                   {"phase", "request"},
                   {"endpoint", "-"},
                   {"queue_ms", "-"},
                   {"to_server_bytes", "0"},
                   {"to_client_bytes", absl::StrCat(reply.size())}}});
}

TEST_F(RequestLogEndsTest, RequestsThatTheProxyAnswersAreLocal) {
  StartLogged({.codec = test::Redis()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("CLIENT SETNAME me\r\nQUIT\r\n"));
  EXPECT_EQ(client.ReadToEnd(), "+OK\r\n+OK\r\n");
  const Line local = {{"end", "local"},         {"ended_by", "proxy"}, {"phase", "request"},
                      {"endpoint", "-"},        {"queue_ms", "-"},     {"first_byte_ms", "-"},
                      {"to_client_bytes", "5"}, {"retries", "0"},      {"to_server_bytes", "0"}};
  ExpectRequests({local, local});
}

TEST_F(RequestLogEndsTest, LocalRequestWithoutAnAnswerHasALine) {
  StartLogged({.codec = test::Memcached()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("quit\r\n"));
  EXPECT_EQ(client.ReadToEnd(), "");
  ExpectRequests({{{"end", "local"}, {"to_client_bytes", "0"}}});
}

TEST_F(RequestLogEndsTest, EachOneWayMessageHasALineWithItsEndpoint) {
  LocalServer other;
  StartLoggedWith({local_.address(), other.address()}, {.codec = test::OneWayLines()});
  constexpr size_t kMessages = 200;
  std::string all;
  for (size_t i = 0; i < kMessages; ++i) all += "event\n";
  Peer client = Connect();
  ASSERT_TRUE(client.Send(all));
  client.ShutdownWrite();
  client.ReadToEnd();
  std::map<std::string, uint64_t> by_endpoint;
  const Line expected = {{"end", "no_reply"},
                         {"ended_by", "server"},
                         {"first_byte_ms", "-"},
                         {"to_server_bytes", "6"},
                         {"to_client_bytes", "0"}};
  for (Line& line : ExpectRequests(std::vector<Line>(kMessages, expected))) {
    ++by_endpoint[line["endpoint"]];
  }
  EXPECT_THAT(by_endpoint, SizeIs(2));
  EXPECT_EQ(by_endpoint["e0"], exchange_->cell(0).flows.Value());
  EXPECT_EQ(by_endpoint["e1"], exchange_->cell(1).flows.Value());
}

TEST_F(RequestLogEndsTest, CommandWithNoreplyIsAnsweredByTheServerAndNotToTheClient) {
  StartLogged({.codec = test::Memcached()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("incr k 1 noreply\r\nincr k 1\r\n"));
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(28), "incr k 1        \r\nincr k 1\r\n");
  ASSERT_TRUE(server.Send("6\r\n7\r\n"));
  ASSERT_EQ(client.Read(3), "7\r\n");
  const std::vector<Line> lines =
      ExpectRequests({{{"end", "no_reply"}, {"to_server_bytes", "18"}, {"to_client_bytes", "0"}},
                      {{"end", "clean"}, {"to_server_bytes", "10"}, {"to_client_bytes", "3"}}});
  EXPECT_TRUE(HasTime(lines[0], "first_byte_ms"));
}

TEST_F(RequestLogEndsTest, BroadcastThatNoDeviceAnswersHasNoReply) {
  StartLogged({.codec = test::Modbus()});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(ModbusMessage(1, "\0\6\0\1\0\3"s)));
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(12).size(), 12u);
  client.ShutdownWrite();
  client.ReadToEnd();
  ExpectRequests({{{"end", "no_reply"}, {"ended_by", "server"}, {"to_client_bytes", "0"}}});
}

TEST_F(RequestLogEndsTest, StreamedRequestHasOneLineWithAllItsBytes) {
  StartLogged({.codec = test::Http(/*max_request_bytes=*/4096)});
  const std::string body(300'000, 'x');
  const std::string upload =
      absl::StrCat("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  Peer client = Connect();
  Peer server = AcceptFor(client, upload);
  ExpectCarried(server, client, "HTTP/1.1 204 No Content\r\n\r\n");
  ExpectRequests({{{"to_server_bytes", absl::StrCat(upload.size())}, {"end", "clean"}}});
}

// The end of the first client's reply waits in the proxy until that client reads.
TEST_F(RequestLogEndsTest, RequestEndsWhenItsClientHasTakenTheReply) {
  const size_t size = 8 << 20;  // more than sockets take
  const std::string reply = absl::StrCat("$", size, "\r\n", std::string(size, 'r'), "\r\n");
  for (const bool reads : {true, false}) {
    SCOPED_TRACE(reads);
    folder_.Write("connections.log", "");
    StartLogged({.codec = test::Redis()});
    Peer slow = Connect(/*receive_buffer=*/4096);
    Peer server = AcceptFor(slow, "GET a\r\n");
    Peer other = Connect();
    ExpectCarried(other, server, "GET b\r\n");
    ASSERT_TRUE(server.Send(reply + "+b\r\n"));
    ASSERT_EQ(other.Read(4), "+b\r\n");
    ExpectRequests({{{"to_client_bytes", "4"}}});
    if (reads) {
      EXPECT_EQ(slow.Read(reply.size()).size(), reply.size());
      ExpectRequests({{}, {{"to_client_bytes", absl::StrCat(reply.size())}, {"end", "clean"}}});
    } else {
      slow.Reset();
      const Line line = ExpectRequests({{}, {{"end", "client_reset"}, {"ended_by", "client"}}})[1];
      EXPECT_THAT(std::stoull(line.at("to_client_bytes")), AllOf(Gt(0u), Lt(reply.size())));
    }
    exchange_.reset();
  }
}

TEST_F(RequestLogEndsTest, RequestsOfADedicatedConnectionHaveNoLines) {
  StartLogged({.codec = test::Redis()});
  Peer client = Connect();
  Peer shared = AcceptFor(client, "PING\r\n");
  ExpectCarried(shared, client, "+PONG\r\n");
  Peer dedicated = AcceptFor(client, "MULTI\r\n");
  ExpectCarried(dedicated, client, "+OK\r\n");
  ExpectCarried(client, dedicated, "PING\r\n");
  ExpectCarried(dedicated, client, "+QUEUED\r\n");
  client.Reset();
  ExpectGone();
  ExpectRequests({{{"to_client_bytes", "7"}}});
  EXPECT_EQ(LinesOf("connection")[0]["to_client_bytes"], "21");
}

// A client of long life must not decide about all of its requests.
TEST_F(RequestLogEndsTest, SampleDecidesForEachRequest) {
  StartLogged({}, {.proxy_id = "p", .sample = 0.25, .errors = false, .requests = true});
  constexpr int kRequests = 1000;
  std::string questions;
  for (int i = 0; i < kRequests; ++i) questions += "a\n";
  Peer client = Connect();
  ASSERT_TRUE(client.Send(questions));
  Peer server = local_.Accept();
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_EQ(server.Read(2), "a\n");
    ExpectCarried(server, client, "A\n");
  }
  client.Reset();
  ExpectGone();
  // 150 and 350 are 7 standard deviations from the mean.
  EXPECT_THAT(LinesOf("request"), SizeIs(AllOf(Gt(150u), Lt(350u))));
}

TEST_F(RequestLogEndsTest, SampleOfNoneStillLogsTheRequestsThatFail) {
  StartLogged({}, {.proxy_id = "p", .sample = 0, .requests = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  ExpectCarried(server, client, "A\n");
  ExpectCarried(client, server, "b\n");
  server.Reset();
  client.ReadToEnd();
  ExpectRequests({{{"end", "connection_lost"}, {"retries", "0"}}});
}

TEST_F(RequestLogEndsTest, OtherServicesAreNotLogged) {
  StartLogged({}, {.proxy_id = "p", .requests = true, .services = {"other"}});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  ExpectCarried(server, client, "A\n");
  client.Reset();
  ExpectGone();
  EXPECT_THAT(LinesOf("request"), IsEmpty());
}

}  // namespace
}  // namespace trunkline
