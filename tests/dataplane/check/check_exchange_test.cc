#include "dataplane/check/check_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/table/health_check.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using State = CheckExchange::State;

CheckExchange Tcp(const std::string& send, const std::string& expect) {
  return {{.kind = TcpCheck{.send = send, .expect = expect}}, "", "10.0.0.1:25"};
}
CheckExchange Http(const HttpCheck& check = {}, const std::string& address = "10.0.0.1:80") {
  return {{.kind = check}, "", address};
}
CheckExchange Redis() { return {{.kind = RedisCheck()}, "", "10.0.0.1:6379"}; }

CheckExchange RedisWithLogin(const std::string& user, const std::string& password) {
  const RedisCredential credential = {.user = user, .password = password};
  return {{.kind = RedisCheck{.login = NewRedisCodec({.credential = credential})}},
          "",
          "10.0.0.1:6379"};
}

// Returns the state after `bytes`, which arrive one by one, and expects that no earlier byte
// decides.
State ByteByByte(CheckExchange exchange, const std::string& bytes) {
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    EXPECT_EQ(exchange.OnBytes(bytes.substr(i, 1)), State::kMore) << "byte " << i;
  }
  return exchange.OnBytes(bytes.substr(bytes.size() - 1));
}

TEST(CheckExchangeTest, TcpCheckWithoutBytesPassesOnceConnected) {
  EXPECT_EQ(Tcp("", "").to_send(), "");
  EXPECT_EQ(Tcp("", "").OnSent(), State::kPassed);
  EXPECT_EQ(Tcp("hello", "").OnSent(), State::kPassed);
}

TEST(CheckExchangeTest, TcpCheckFindsExpectedBytesAcrossReads) {
  EXPECT_EQ(Tcp("", "220 ").OnSent(), State::kMore);
  EXPECT_EQ(ByteByByte(Tcp("", "ready"), "server is rearready"), State::kPassed);
  CheckExchange exchange = Tcp("stat\n", "ok");
  EXPECT_EQ(exchange.to_send(), "stat\n");
  EXPECT_EQ(exchange.OnBytes("o"), State::kMore);
  EXPECT_EQ(exchange.OnBytes("k"), State::kPassed);
}

TEST(CheckExchangeTest, TcpCheckReadsNoMoreThanItsLimit) {
  CheckExchange exchange = Tcp("", "never");
  EXPECT_EQ(exchange.OnBytes(std::string(CheckExchange::kMaxReplyBytes - 1, 'x')), State::kMore);
  EXPECT_EQ(exchange.OnBytes("x"), State::kFailed);
  CheckExchange at_once = Tcp("", "never");
  EXPECT_EQ(at_once.OnBytes(std::string(CheckExchange::kMaxReplyBytes, 'x') + "never"),
            State::kFailed);
}

TEST(CheckExchangeTest, HttpRequestHasMethodPathAndHost) {
  EXPECT_THAT(Http().to_send(), testing::StartsWith("GET / HTTP/1.1\r\nHost: 10.0.0.1:80\r\n"));
  EXPECT_THAT(Http().to_send(), testing::EndsWith("Connection: close\r\n\r\n"));
  EXPECT_THAT(Http({.method = "HEAD", .path = "/live?x=1", .host = "www"}).to_send(),
              testing::StartsWith("HEAD /live?x=1 HTTP/1.1\r\nHost: www\r\n"));
  EXPECT_THAT(Http({}, "unix:/run/s").to_send(), HasSubstr("\r\nHost: localhost\r\n"));
}

TEST(CheckExchangeTest, HttpCheckDecidesAtTheEndOfTheStatusLine) {
  EXPECT_EQ(ByteByByte(Http(), "HTTP/1.1 200 OK\r\n"), State::kPassed);
  EXPECT_EQ(ByteByByte(Http(), "HTTP/1.0 302 Found\r\n"), State::kPassed);
  EXPECT_EQ(ByteByByte(Http(), "HTTP/1.1 503 Service Unavailable\r\n"), State::kFailed);
  EXPECT_EQ(ByteByByte(Http(), "S"), State::kFailed) << "an SSH server";
}

TEST(CheckExchangeTest, HttpCheckAcceptsTheConfiguredStatuses) {
  const HttpCheck check = {.expected = {{200, 204}, {404, 404}}};
  EXPECT_EQ(Http(check).OnBytes("HTTP/1.1 204 No Content\r\n"), State::kPassed);
  EXPECT_EQ(Http(check).OnBytes("HTTP/1.1 404 Not Found\r\n"), State::kPassed);
  EXPECT_EQ(Http(check).OnBytes("HTTP/1.1 205 Reset Content\r\n"), State::kFailed);
  EXPECT_THAT(Http(check).Describe(), HasSubstr("expected a status of 200-204, 404"));
}

TEST(CheckExchangeTest, InformationalResponsesAreSkipped) {
  EXPECT_EQ(ByteByByte(Http(), "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n"),
            State::kPassed);
  EXPECT_EQ(Http().OnBytes("HTTP/1.1 101 Switching Protocols\r\n"), State::kFailed);
}

TEST(CheckExchangeTest, RedisPassesWithPongOnly) {
  EXPECT_EQ(Redis().to_send(), "PING\r\n");
  EXPECT_EQ(Redis().OnSent(), State::kMore);
  EXPECT_EQ(ByteByByte(Redis(), "+PONG\r\n"), State::kPassed);
  EXPECT_EQ(Redis().OnBytes("-LOADING Redis is loading the dataset in memory\r\n"), State::kFailed);
  EXPECT_EQ(Redis().OnBytes("-NOAUTH Authentication required.\r\n"), State::kFailed);
  EXPECT_EQ(Redis().OnBytes("+PONGO\r\n"), State::kFailed);
}

TEST(CheckExchangeTest, RedisWithAPasswordGetsItBeforePing) {
  const CheckExchange check = RedisWithLogin("", "s3cr3t");
  EXPECT_EQ(check.to_send(), "*2\r\n$4\r\nAUTH\r\n$6\r\ns3cr3t\r\nPING\r\n");
  EXPECT_THAT(RedisWithLogin("app", "s3cr3t").to_send(), HasSubstr("$3\r\napp\r\n$6\r\ns3cr3t"));
  EXPECT_EQ(ByteByByte(check, "+OK\r\n+PONG\r\n"), State::kPassed);
  EXPECT_EQ(ByteByByte(check, "-WRONGPASS invalid password\r\n"), State::kFailed);
  EXPECT_EQ(ByteByByte(check, "+OK\r\n-LOADING\r\n"), State::kFailed);
  CheckExchange without_login = check;
  EXPECT_EQ(without_login.OnBytes("+PONG\r\n"), State::kMore) << "the reply to AUTH, not to PING";
}

TEST(CheckExchangeTest, DescriptionHasNoCredentialAndNoReplyToIt) {
  CheckExchange check = RedisWithLogin("", "s3cr3t");
  EXPECT_EQ(check.Describe(),
            "sent a credential and \"PING\\r\\n\", got nothing, expected \"+PONG\"");
  check.OnBytes("-ERR unknown command 'AUTH', with args beginning with: 's3c");
  EXPECT_THAT(check.Describe(), Not(HasSubstr("s3c")));
  check.OnBytes("r3t'\r\n");
  EXPECT_EQ(check.Describe(),
            "sent a credential and \"PING\\r\\n\"; the server refused the opening of the "
            "connection: ERR (the rest of the error may repeat the credential)");
  CheckExchange loading = RedisWithLogin("", "s3cr3t");
  loading.OnBytes("+OK\r\n-LOADING\r\n");
  EXPECT_EQ(loading.Describe(),
            "sent a credential and \"PING\\r\\n\", got \"-LOADING\\r\\n\" after the reply to the "
            "credential, expected \"+PONG\"");
}

TEST(CheckExchangeTest, ReplyIsClassifiedAlikeHoweverItIsSplit) {
  const std::vector<std::pair<CheckExchange, std::string>> replies = {
      {Tcp("", "ready"), "this is rearready now"},
      {Tcp("", "ready"), "this is not"},
      {Redis(), "+PONG\r\n"},
      {Redis(), "-LOADING\r\n+PONG\r\n"},
      {RedisWithLogin("", "x"), "+OK\r\n+PONG\r\n"},
      {RedisWithLogin("", "x"), "-ERR\r\n+PONG\r\n"},
      {Http(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
      {Http(), "HTTP/1.1 503 no\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
  };
  for (const auto& [exchange, reply] : replies) {
    CheckExchange whole = exchange;
    const State expected = whole.OnBytes(reply);
    for (size_t split = 1; split < reply.size(); ++split) {
      CheckExchange parts = exchange;
      State state = parts.OnBytes(reply.substr(0, split));
      if (state == State::kMore) state = parts.OnBytes(reply.substr(split));
      EXPECT_EQ(state, expected) << reply << " at " << split;
    }
  }
}

TEST(CheckExchangeTest, ProxyHeaderWithoutAddressesGoesFirst) {
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    const CheckExchange exchange({.kind = RedisCheck()}, WriteProxyHeader(version, {}),
                                 "10.0.0.1:6379");
    EXPECT_EQ(exchange.to_send(), WriteProxyHeader(version, {}) + "PING\r\n");
    EXPECT_THAT(exchange.Describe(),
                HasSubstr("sent \"PING\\r\\n\" after a PROXY protocol header"));
  }
}

TEST(CheckExchangeTest, DescriptionShowsTheFirstBytesEscaped) {
  CheckExchange exchange = Redis();
  EXPECT_EQ(exchange.Describe(), "sent \"PING\\r\\n\", got nothing, expected \"+PONG\"");
  exchange.OnBytes(std::string("-ERR \"\x01\xff", 8));
  EXPECT_EQ(exchange.Describe(),
            "sent \"PING\\r\\n\", got \"-ERR \\\"\\x01\\xff\", expected \"+PONG\"");
  CheckExchange banner = Tcp("", "220 ");
  banner.OnBytes(std::string(100, 'x'));
  EXPECT_EQ(banner.Describe(),
            "sent nothing, got \"" + std::string(64, 'x') + "\"..., expected \"220 \"");
  EXPECT_EQ(Tcp("", "").Describe(), "sent nothing, got nothing");
}

// The log is read by more people than the configuration.
TEST(CheckExchangeTest, DescriptionShowsNothingThatMayBeASecret) {
  EXPECT_EQ(Tcp("login s3cr3t\r\n", "ok").Describe(),
            "sent 14 bytes, got nothing, expected \"ok\"");
  EXPECT_EQ(Tcp("x", "").Describe(), "sent 1 byte, got nothing");
  const std::string text = Http({.path = "/live?key=s3cr3t"}).Describe();
  EXPECT_THAT(text, Not(HasSubstr("s3cr3t")));
  EXPECT_THAT(text, HasSubstr("sent \"GET /live?... HTTP/1.1\\r\\nHost: 10.0.0.1:80"));
}

}  // namespace
}  // namespace trunkline
