// A refused request or reply leaves a log line that names the service, the client or the endpoint,
// the reason and the offset of the byte, and a flood of them leaves few lines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/ip_port.h"
#include "dataplane/codec/codec.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::LogCapture;
using test::Peer;
using ::testing::HasSubstr;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// Bytes that break a protocol, and the words about them.
struct Broken {
  std::shared_ptr<const Codec> codec;
  std::string good;  // a request
  std::string bytes;
  std::string words;
};

class MessageLogTest : public test::ExchangeTest {
 protected:
  // The workers log until then.
  void TearDown() override { exchange_.reset(); }

  static std::string NameOf(const Peer& client) {
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    EXPECT_EQ(getsockname(client.fd(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    return IpPortOf(reinterpret_cast<sockaddr*>(&own)).ToString();
  }

  LogCapture log_;
};

TEST_F(MessageLogTest, RequestThatCannotBeReadIsLoggedWithItsClientReasonAndOffset) {
  const Broken cases[] = {
      {test::Http(), "", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
       "http1 cannot read: a field does not begin with a token and a colon (a folded line, or "
       "white "
       "space before the colon), at byte 20 of the request"},
      {test::Http(), "", "GET / HTTP/1.1\r\n\r\n",
       "it has no Host or more than one, at byte 18 of"},
      {test::Http(), "", "GET / HTTP/3.0\r\n\r\n",
       "its first line does not end with HTTP/1.0 or HTTP/1.1 and CR LF, at byte 11 of"},
      {test::Http(), "", std::string(kGet, sizeof kGet - 3) + "Content-Length: 5, 5\r\n",
       "its Content-Length is repeated or no plain number, at byte 42 of"},
      {test::Redis(), "", "*1\r\n+1\r\n",
       "redis cannot read: an argument does not begin with $, at byte 4 of"},
      {test::Redis(), "", "*x\r\n",
       "a count or length is no plain number within the limits of Redis, at byte 1 of"},
      {test::Memcached(), "", "set a 0 0 1\r\nxyz\r\n",
       "memcached cannot read: a data block does not end with CR LF where its length says, at byte "
       "14 of"},
      {test::Modbus(), "", std::string("\0\1\0\7\0\6", 6),
       "modbus_tcp cannot read: its protocol id is not 0, so it is no Modbus TCP, at byte 3 of"},
      {test::Frames(100), "", std::string("\1\0", 2),
       "length_field cannot read: its length field counts more than max_message_bytes, at byte 2 "
       "of"},
  };
  for (const Broken& broken : cases) {
    SCOPED_TRACE(broken.words);
    LogCapture log;
    Start({.codec = broken.codec});
    Peer client = Connect();
    const std::string name = NameOf(client);
    ASSERT_TRUE(client.Send(broken.bytes));
    client.ReadToEnd();
    exchange_.reset();
    EXPECT_THAT(log.text(),
                HasSubstr(absl::StrCat("service db: client ", name, " sent a request that ")));
    EXPECT_THAT(log.text(), HasSubstr(broken.words));
    EXPECT_THAT(log.text(), HasSubstr("the client is closed"));
  }
}

// The parts before were sent already.
TEST_F(MessageLogTest, OffsetInAStreamedRequestCountsFromItsFirstByte) {
  Start({.codec = test::Http(/*max_request_bytes=*/64)});
  Peer client = Connect();
  const std::string good =
      absl::StrCat("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
                   std::string(1000, 'x'));
  Peer server = AcceptFor(client, good);
  ASSERT_TRUE(client.Send("\r\nx"));
  client.ReadToEnd();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  EXPECT_THAT(log_.text(), HasSubstr(absl::StrCat("at byte ", good.size() + 2, " of the request")));
}

TEST_F(MessageLogTest, ReplyThatCannotBeReadIsLoggedWithItsEndpointReasonAndOffset) {
  const Broken cases[] = {
      {test::Http(), kGet, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
       "no reply of http1: its Content-Length is repeated or no plain number, at byte 54 of the "
       "reply"},
      {test::Http(), kGet, "HTTP/1.1 101 Switching\r\n\r\n",
       "it switches protocols (101) unasked, at byte 26 of"},
      {test::Redis(), "PING\r\n", "+a\r\rx",
       "no reply of redis: a string, a line or a streamed value does not end where it should, at "
       "byte 3 of"},
      {test::Redis(), "PING\r\n", ">1\r\n+a\r\n", "a push that answers no request"},
      {test::Memcached(), "get a\r\n", "STORED\r\n",
       "no reply of memcached: a line begins with a word that does not answer its command, at byte "
       "6 of the reply"},
      {test::Memcached(), "get a\r\n", "END\r\nEND\r\n", "5 bytes answer no request"},
      {test::Redis(), "PING\r\n", "+a\r\n+b\r\n", "4 bytes answer no request"},
      {test::Modbus(), test::ModbusMessage(1, "\x11\3"), std::string("\0\1\0\0\0\1", 6),
       "no reply of modbus_tcp: its length is not 2 to 254, at byte 5 of the reply"},
      {test::FramesWithId(100), test::FrameWithId(1, "a"), std::string("\0\1\1\0", 4),
       "no reply of length_field: its length field counts more than max_message_bytes, at byte 4 "
       "of"},
  };
  for (const Broken& broken : cases) {
    SCOPED_TRACE(broken.words);
    LogCapture log;
    Start({.codec = broken.codec});
    Peer client = Connect();
    ASSERT_TRUE(client.Send(broken.good));
    Peer server = local_.Accept();
    ASSERT_EQ(server.Read(broken.good.size()).size(), broken.good.size());
    ASSERT_TRUE(server.Send(broken.bytes));
    EXPECT_EQ(server.ReadToEnd(), "");
    exchange_.reset();
    EXPECT_THAT(log.text(), HasSubstr("lost a shared connection to endpoint e0 of service db: "));
    EXPECT_THAT(log.text(), HasSubstr(broken.words));
  }
}

// The server takes one request at a time on its only connection.
TEST_F(MessageLogTest, ClientThatFoundNoFreeConnectionIsLoggedWithTheLimit) {
  Start({.max_connections = 1,
         .max_in_flight = 1,
         .limits = {.connect_timeout = absl::Milliseconds(100)}});
  Peer served = Connect();
  Peer server = AcceptFor(served, "one\n");
  Peer waits = Connect();
  ASSERT_TRUE(waits.Send("two\n"));
  EXPECT_EQ(waits.ReadToEnd(), "");
  exchange_.reset();
  EXPECT_EQ(log_.Count("a client of service db found no endpoint within 100ms and was refused; "
                       "endpoints: 1 without a free connection (max_connections allows this worker "
                       "1 to each)"),
            1)
      << log_.text();
}

TEST_F(MessageLogTest, FloodOfBadRequestsLeavesFewLines) {
  Start({.codec = test::Http()});
  constexpr int kClients = 200;
  for (int i = 0; i < kClients; ++i) {
    Peer client = Connect();
    ASSERT_TRUE(client.Send("hello\r\n"));
    EXPECT_THAT(client.ReadToEnd(), HasSubstr("HTTP/1.1 400"));
  }
  const int lines = log_.Count("sent a request that http1 cannot read");
  EXPECT_GE(lines, 1);
  EXPECT_LT(lines, kClients / 4);
}

TEST_F(MessageLogTest, FloodOfBadRepliesLeavesFewLines) {
  Start({.codec = test::Http()});
  constexpr int kReplies = 100;
  for (int i = 0; i < kReplies; ++i) {
    Peer client = Connect();
    Peer server = AcceptFor(client, kGet);
    ASSERT_TRUE(server.Send("hello\r\n"));
    EXPECT_THAT(client.ReadToEnd(), HasSubstr("HTTP/1.1 502"));
  }
  const int lines = log_.Count("lost a shared connection to endpoint e0 of service db");
  EXPECT_GE(lines, 1);
  EXPECT_LT(lines, kReplies / 4);
}

}  // namespace
}  // namespace trunkline
