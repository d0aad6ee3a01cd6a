// Clients of Redis that choose a version of the protocol, and a service whose proxy knows the
// credential: each upstream connection is opened for its version, and no client gets bytes that
// another version or another client asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "tests/common/eventually.h"
#include "tests/common/log_capture.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Exchange;
using test::ExpectCarried;
using test::Peer;

const std::string kHello2 = "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n";
const std::string kHello3 = "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
const std::string kMap = "%1\r\n$5\r\nproto\r\n:3\r\n";
const std::string kArray = "*2\r\n$5\r\nproto\r\n:2\r\n";
const std::string kUnknown = "-ERR unknown command `HELLO`\r\n";

class OpenedExchangeTest : public test::ExchangeTest {
 protected:
  // The server's end of the next connection, which the proxy opens with `opening`.
  Peer AcceptOpened(const std::string& opening, const std::string& reply) {
    Peer server = local_.Accept();
    EXPECT_EQ(server.Read(opening.size()), opening);
    EXPECT_TRUE(server.Send(reply));
    return server;
  }
};

class VariantsTest : public OpenedExchangeTest {
 protected:
  void StartRedis(Exchange::Options options = {}) {
    options.codec = test::Redis();
    Start(options);
  }
  // A client that has changed to RESP3, on the first connection of that version.
  Peer ConnectResp3(Peer* server) {
    Peer client = Connect();
    EXPECT_TRUE(client.Send("HELLO 3\r\n"));
    *server = AcceptOpened(kHello3, kMap);
    AnswerHello(client, *server);
    return client;
  }
  // The server answers the client's own HELLO 3.
  static void AnswerHello(Peer& client, Peer& server) {
    EXPECT_EQ(server.Read(kHello3.size()), kHello3);
    ExpectCarried(server, client, kMap);
  }
};

TEST_F(VariantsTest, ClientsOfBothVersionsUseConnectionsOfTheirOwnVersion) {
  StartRedis();
  Peer old = Connect();
  Peer resp2 = AcceptFor(old, "GET a\r\n");
  Peer resp3;
  Peer client = ConnectResp3(&resp3);
  ASSERT_TRUE(client.Send("GET b\r\n"));
  EXPECT_EQ(resp3.Read(7), "GET b\r\n");
  Peer second = Connect();
  ASSERT_TRUE(second.Send("HELLO 3 SETNAME me\r\nGET c\r\n"));
  EXPECT_EQ(resp3.Read(kHello3.size() + 7), kHello3 + "GET c\r\n");
  ASSERT_TRUE(resp2.Send("$-1\r\n"));
  ASSERT_TRUE(resp3.Send("_\r\n" + kMap + "_\r\n"));
  EXPECT_EQ(old.Read(5), "$-1\r\n");
  EXPECT_EQ(client.Read(3), "_\r\n");
  EXPECT_EQ(second.Read(kMap.size() + 3), kMap + "_\r\n");
  EXPECT_EQ(exchange_->connections(0), 2u);
}

TEST_F(VariantsTest, ChangeOfTheVersionWaitsForEarlierReplies) {
  StartRedis();
  Peer client = Connect();
  Peer resp2 = AcceptFor(client, "GET a\r\n");
  ASSERT_TRUE(client.Send("GET b\r\nHELLO 3\r\nGET c\r\nHELLO 2\r\n"));
  EXPECT_EQ(resp2.Read(7), "GET b\r\n");
  ExpectCarried(resp2, client, "$1\r\na\r\n");
  EXPECT_FALSE(local_.Knocked(0));
  ExpectCarried(resp2, client, "$1\r\nb\r\n");
  Peer resp3 = AcceptOpened(kHello3, kMap);
  EXPECT_EQ(resp3.Read(kHello3.size() + 7), kHello3 + "GET c\r\n");
  ExpectCarried(resp3, client, kMap + "_\r\n");
  EXPECT_EQ(resp2.Read(kHello2.size()), kHello2) << "on the connection that is there";
  ExpectCarried(resp2, client, kArray);
}

TEST_F(VariantsTest, DedicatedConnectionSpeaksTheVersionOfItsClient) {
  StartRedis();
  Peer resp3;
  Peer client = ConnectResp3(&resp3);
  ASSERT_TRUE(client.Send("SUBSCRIBE news\r\n"));
  Peer own = local_.Accept();
  EXPECT_EQ(own.Read(kHello3.size()), kHello3);
  ASSERT_TRUE(own.Send(kMap.substr(0, 5)));
  EXPECT_EQ(own.UnreadBytes(), 0u) << "the client's bytes follow the whole reply";
  ASSERT_TRUE(own.Send(kMap.substr(5)));
  EXPECT_EQ(own.Read(16), "SUBSCRIBE news\r\n");
  ExpectCarried(own, client, ">2\r\n+message\r\n+news\r\n");
  ExpectCarried(client, own, "PING\r\n");
  ExpectCarried(own, client, "+PONG\r\n");
}

TEST_F(VariantsTest, BytesRightBehindTheReplyToTheOpeningReachTheClient) {
  StartRedis();
  Peer resp3;
  Peer client = ConnectResp3(&resp3);
  ASSERT_TRUE(client.Send("SUBSCRIBE news\r\n"));
  Peer own = AcceptOpened(kHello3, kMap + ">1\r\n+news\r\n");
  EXPECT_EQ(client.Read(11), ">1\r\n+news\r\n");
}

// As Redis before version 6 does.
TEST_F(VariantsTest, ClientOfAServerThatRefusesTheVersionGetsTheServersOwnAnswer) {
  StartRedis();
  Peer client = Connect();
  ASSERT_TRUE(client.Send("HELLO 3\r\nGET a\r\n"));
  AcceptOpened(kHello3, kUnknown);
  Peer own = local_.Accept();
  EXPECT_EQ(own.Read(kHello3.size() + 7), kHello3 + "GET a\r\n") << "without an opening";
  ExpectCarried(own, client, kUnknown + "$1\r\na\r\n");
  // RESP2 is shared as before.
  Peer old = Connect();
  Peer resp2 = AcceptFor(old, "GET a\r\n");
  ExpectCarried(resp2, old, "$1\r\na\r\n");
}

// The server has restarted meanwhile, in a version that does not know RESP3. One client has not
// taken its last reply when its next request has to go elsewhere.
TEST_F(VariantsTest, BufferedReplyReachesItsClientBeforeADedicatedConnectionDoes) {
  StartRedis({.idempotent = true});
  const size_t size = 8 << 20;  // more than sockets take
  const std::string reply = absl::StrCat("$", size, "\r\n", std::string(size, 'r'), "\r\n");
  Peer slow = Connect(/*receive_buffer=*/4096);
  ASSERT_TRUE(slow.Send("HELLO 3\r\n"));
  Peer resp3 = AcceptOpened(kHello3, kMap);
  AnswerHello(slow, resp3);
  Peer other = Connect();
  ASSERT_TRUE(other.Send("HELLO 3\r\n"));
  AnswerHello(other, resp3);
  ASSERT_TRUE(slow.Send("GET a\r\nGET b\r\n"));
  ASSERT_EQ(resp3.Read(14), "GET a\r\nGET b\r\n");
  // Waits behind the large reply, so the proxy reads all of it.
  ExpectCarried(other, resp3, "INCR n\r\n");
  ASSERT_TRUE(resp3.Send(reply));
  resp3.Close();
  AcceptOpened(kHello3, kUnknown);
  EXPECT_EQ(slow.Read(reply.size()).size(), reply.size());
  Peer own = AcceptOpened(kHello3, kMap);
  EXPECT_EQ(own.Read(7), "GET b\r\n");
  ExpectCarried(own, slow, "_\r\n");
}

TEST_F(VariantsTest, OneConnectionServesBothVersionsInTurn) {
  StartRedis({.max_connections = 1});
  Peer old = Connect();
  Peer resp2 = AcceptFor(old, "GET a\r\n");
  ExpectCarried(resp2, old, "$1\r\na\r\n");
  Peer client = Connect();
  ASSERT_TRUE(client.Send("HELLO 3\r\n"));
  Peer resp3 = AcceptOpened(kHello3, kMap);
  EXPECT_EQ(resp2.ReadToEnd(), "");
  ASSERT_TRUE(old.Send("GET b\r\n"));
  AnswerHello(client, resp3);
  Peer again = local_.Accept();
  EXPECT_EQ(again.Read(7), "GET b\r\n");
  ExpectCarried(again, old, "$1\r\nb\r\n");
}

// With the service's credential.
class CredentialTest : public OpenedExchangeTest {
 protected:
  static constexpr char kAuth[] = "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";
  static constexpr char kHelloAuth[] =
      "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\nsecret\r\n";

  void SetUp() override { Start({.codec = codec_}); }

  const std::shared_ptr<const Codec> codec_ =
      NewRedisCodec({.credential = RedisCredential{.user = "", .password = "secret"}});
};

TEST_F(CredentialTest, AuthenticatedClientsShareAConnectionThatTheProxyOpened) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("AUTH secret\r\nGET a\r\n"));
  Peer server = AcceptOpened(kAuth, "+OK\r\n");
  EXPECT_EQ(server.Read(7), "GET a\r\n");
  Peer second = Connect();
  ASSERT_TRUE(second.Send("AUTH default secret\r\nGET b\r\n"));
  EXPECT_EQ(server.Read(7), "GET b\r\n");
  ASSERT_TRUE(server.Send("+a\r\n+b\r\n"));
  EXPECT_EQ(client.Read(9), "+OK\r\n+a\r\n");
  EXPECT_EQ(second.Read(9), "+OK\r\n+b\r\n");
  EXPECT_EQ(exchange_->connections(0), 1u);
}

TEST_F(CredentialTest, StrangersReachNoServer) {
  Peer client = Connect();
  for (const char* command : {"GET a\r\n", "SUBSCRIBE news\r\n", "MULTI\r\n", "GET \"a\"\r\n"}) {
    ASSERT_TRUE(client.Send(command));
    const std::string answer = "-NOAUTH Authentication required.\r\n";
    EXPECT_EQ(client.Read(answer.size()), answer) << command;
  }
  ASSERT_TRUE(client.Send("AUTH wrong\r\nAUTH\r\nHELLO 3 AUTH default wrong\r\nQUIT\r\n"));
  EXPECT_EQ(client.ReadToEnd(),
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
            "-ERR wrong number of arguments for 'auth' command\r\n"
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
            "+OK\r\n");
  // A command that would be streamed, to a connection that the proxy has authenticated.
  Peer large = Connect();
  ASSERT_TRUE(large.Send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999\r\n"));
  EXPECT_EQ(large.ReadToEnd(), "-ERR Protocol error\r\n");
  EXPECT_FALSE(local_.Knocked(0));
}

TEST_F(CredentialTest, HelloWithTheCredentialSharesAConnectionOfItsVersion) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("HELLO 3 AUTH default secret SETNAME me\r\nGET a\r\n"));
  Peer server = AcceptOpened(kHelloAuth, kMap);
  EXPECT_EQ(server.Read(kHello3.size() + 7), kHello3 + "GET a\r\n") << "without name and secret";
  ExpectCarried(server, client, kMap + "_\r\n");
}

TEST_F(CredentialTest, DedicatedConnectionIsAuthenticatedByTheProxy) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("AUTH secret\r\nMULTI\r\n"));
  Peer server = AcceptOpened(kAuth, "+OK\r\n");
  EXPECT_EQ(server.Read(7), "MULTI\r\n");
  ASSERT_TRUE(server.Send("+OK\r\n"));
  EXPECT_EQ(client.Read(10), "+OK\r\n+OK\r\n");
}

// There is no other endpoint.
TEST_F(CredentialTest, ClientWhoseDedicatedConnectionIsRefusedWaitsUntilTheServerRecovers) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("AUTH secret\r\nMULTI\r\n"));
  Peer refused = AcceptOpened(kAuth, "-WRONGPASS changed\r\n");
  EXPECT_EQ(refused.ReadToEnd(), "") << "no byte of the client";
  EXPECT_TRUE(test::Eventually([&] { return exchange_->cell(0).connect_refused.Value() == 1; }));
  const Peer probe = AcceptOpened(kAuth, "+OK\r\n");
  Peer own = AcceptOpened(kAuth, "+OK\r\n");
  EXPECT_EQ(own.Read(7), "MULTI\r\n");
  ExpectCarried(own, client, "+OK\r\n");
}

TEST_F(CredentialTest, ClientIsResetIfNoServerTakesItsDedicatedConnection) {
  Start({.codec = codec_, .limits = {.connect_timeout = absl::Milliseconds(500)}});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("AUTH secret\r\nMULTI\r\n"));
  AcceptOpened(kAuth, "-WRONGPASS changed\r\n");
  EXPECT_EQ(client.ReadToEnd(), "+OK\r\n");
  EXPECT_EQ(client.ending(), Ending::kReset);
}

TEST_F(CredentialTest, RefusedClientsAreCountedAndLoggedWithoutWhatTheySent) {
  test::LogCapture log;
  Start({.codec = codec_});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("GET a\r\nAUTH nearly-secret\r\nAUTH user nearly-secret\r\nQUIT\r\n"));
  EXPECT_NE(client.ReadToEnd().find("-WRONGPASS"), std::string::npos);
  exchange_->Stop();
  EXPECT_EQ(exchange_->listener().auth_refusals.Value(), 3u);
  EXPECT_EQ(log.Count("service db: client 127.0.0.1:"), 2);
  EXPECT_EQ(log.Count("sent a request before it gave a credential"), 1);
  EXPECT_EQ(log.Count("gave a wrong user or password"), 1) << "one line in ten seconds";
  EXPECT_EQ(log.text().find("nearly-secret"), std::string::npos) << log.text();
}

// An endpoint may treat the opening of a dedicated connection in these ways.
struct BadOpening {
  const char* name;
  const char* answer;  // empty: none
  bool closes;
  const char* words;  // in the log
};

class BadOpeningTest : public OpenedExchangeTest, public testing::WithParamInterface<BadOpening> {
 protected:
  static constexpr char kAuth[] = "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";

  // Nearly every client is sent to the first server, which is the bad one, as long as it may be.
  void StartBoth(std::shared_ptr<const Codec> codec) {
    StartWith({bad_.address(), local_.address()},
              {.codec = std::move(codec), .limits = {.connect_timeout = absl::Seconds(2)}});
    exchange_->SetWeight(0, 1000);
    exchange_->SetWeight(1, 0.001);
    exchange_->Apply();
  }
  Peer Refuse(const std::string& opening) {
    Peer server = bad_.Accept();
    EXPECT_EQ(server.Read(opening.size()), opening);
    EXPECT_TRUE(server.Send(GetParam().answer));
    if (GetParam().closes) server.Close();
    return server;
  }

  test::LocalServer bad_;
};

TEST_P(BadOpeningTest, DedicatedClientGoesToAnotherEndpointAndLaterOnesAvoidIt) {
  test::LogCapture log;
  StartBoth(std::shared_ptr<const Codec>(
      NewRedisCodec({.credential = RedisCredential{.user = "", .password = "secret"}})));
  Peer client = Connect();
  ASSERT_TRUE(client.Send("AUTH secret\r\nBLPOP q 0\r\n"));
  const Peer refused = Refuse(kAuth);
  Peer server = AcceptOpened(kAuth, "+OK\r\n");
  EXPECT_EQ(server.Read(11), "BLPOP q 0\r\n");
  EXPECT_EQ(client.Read(5), "+OK\r\n");
  ExpectCarried(server, client, "*-1\r\n");
  const EndpointCell& cell = exchange_->cell(0);
  EXPECT_GE(cell.connect_refused.Value() + cell.connect_timeouts.Value(), 1u);
  EXPECT_EQ(cell.ejected.Value(), 1);
  EXPECT_EQ(log.Count("endpoint e0 of service db: "), 1) << log.text();
  EXPECT_NE(log.text().find(GetParam().words), std::string::npos) << log.text();
  Peer second = Connect();
  ASSERT_TRUE(second.Send("AUTH secret\r\nMULTI\r\n"));
  Peer own = AcceptOpened(kAuth, "+OK\r\n");
  EXPECT_EQ(own.Read(7), "MULTI\r\n");
  exchange_->Stop();  // its workers log until then
}

TEST_P(BadOpeningTest, FailedVersionOfADedicatedConnectionEjectsNoEndpoint) {
  StartBoth(test::Redis());
  exchange_->SetWeight(0, 0);
  exchange_->Apply();
  Peer client = Connect();
  ASSERT_TRUE(client.Send("HELLO 3\r\n"));
  Peer resp3 = AcceptOpened(kHello3, kMap);
  EXPECT_EQ(resp3.Read(kHello3.size()), kHello3);
  ExpectCarried(resp3, client, kMap);
  exchange_->SetWeight(0, 1000);
  exchange_->Apply();
  ASSERT_TRUE(client.Send("SUBSCRIBE news\r\n"));
  const Peer refused = Refuse(kHello3);
  Peer server = AcceptOpened(kHello3, kMap);
  EXPECT_EQ(server.Read(16), "SUBSCRIBE news\r\n");
  EXPECT_EQ(exchange_->cell(0).ejected.Value(), 0);
  Peer old = Connect();
  ASSERT_TRUE(old.Send("GET a\r\n"));
  Peer resp2 = bad_.Accept();
  EXPECT_EQ(resp2.Read(7), "GET a\r\n") << "of the other version";
}

INSTANTIATE_TEST_SUITE_P(
    Openings, BadOpeningTest,
    testing::Values(BadOpening{"Error", "-WRONGPASS changed\r\n", false, "WRONGPASS"},
                    BadOpening{"Fin", "", true, "closed the connection before it answered"},
                    BadOpening{"Malformed", "220 ready\r\n", false, "no reply of redis"},
                    BadOpening{"Silence", "", false, "did not answer the opening"}),
    [](const auto& info) { return info.param.name; });

// Clients of both versions, of which each has sent its next request before it gets a reply, and a
// server that bears one connection.
class OneConnectionTest : public OpenedExchangeTest {
 protected:
  struct Asking {
    Peer peer;
    std::string request;
    std::string reply;
    std::string hello;  // in front of the first reply
    int replies = 0;
  };

  void Add(const std::string& request, const std::string& hello) {
    Asking client{.peer = Connect(), .request = request, .reply = "+" + request, .hello = hello};
    ASSERT_TRUE(client.peer.Send((hello.empty() ? "" : "HELLO 3\r\n") + request + request));
    clients_.push_back(std::move(client));
  }
  // The server answers the oldest request once it has another one, or the proxy sends no more.
  void Serve() {
    constexpr int kQuietMillis = 50;
    if (local_.Knocked(0)) {
      server_ = local_.Accept();
      unread_.clear();
      ++connections_;
    }
    if (!server_) return;
    const size_t size = SizeOfFirst(unread_);
    const bool spare = size > 0 && SizeOfFirst(unread_.substr(size)) > 0;
    if (!spare && test::WaitFor(server_.fd(), POLLIN, size > 0 ? kQuietMillis : 0)) {
      unread_ += server_.Read(std::max<size_t>(1, server_.UnreadBytes()));
      return;
    }
    if (size == 0) return;
    const std::string request = unread_.substr(0, size);
    unread_.erase(0, size);
    EXPECT_TRUE(server_.Send(request == kHello3 ? kMap : "+" + request));
  }
  static size_t SizeOfFirst(const std::string& bytes) {
    if (bytes.starts_with(kHello3)) return kHello3.size();
    return bytes.starts_with('*') ? 0 : bytes.find('\n') + 1;
  }
  void Receive(Asking& client) {
    const std::string& expected =
        client.replies == 0 && !client.hello.empty() ? client.hello + client.reply : client.reply;
    if (client.peer.UnreadBytes() < expected.size()) return;
    ASSERT_EQ(client.peer.Read(expected.size()), expected);
    ++client.replies;
    ASSERT_TRUE(client.peer.Send(client.request));
  }

  std::vector<Asking> clients_;
  Peer server_;
  std::string unread_;
  int connections_ = 0;
};

TEST_F(OneConnectionTest, SteadyClientsOfBothVersionsMakeProgress) {
  Start({.codec = test::Redis(), .max_connections = 1});
  for (const char* request : {"GET a\r\n", "GET b\r\n"}) Add(request, "");
  for (const char* request : {"GET c\r\n", "GET d\r\n"}) Add(request, kMap);
  constexpr int kEnough = 50;
  EXPECT_TRUE(test::Eventually([&] {
    for (int i = 0; i < 20 && !HasFailure(); ++i) {
      Serve();
      for (Asking& client : clients_) Receive(client);
    }
    return HasFailure() || std::ranges::all_of(clients_, [](const Asking& client) {
             return client.replies >= kEnough;
           });
  }));
  EXPECT_GE(connections_, 2);
}

}  // namespace
}  // namespace trunkline
