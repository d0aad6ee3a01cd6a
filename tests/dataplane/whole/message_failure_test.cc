// Requests whose server refuses, fails or returns. Requests that no server can have seen are
// retried elsewhere; the others end their client, unless they are idempotent.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::Exchange;
using test::ExpectCarried;
using test::ExpectExchange;
using test::LocalServer;
using test::Peer;
using test::RefusingAddress;
using test::SilentServer;

class FailureTest : public test::ExchangeTest {
 protected:
  // The server accepts no more connections, with one request in flight on its only one and another
  // request waiting; both are answered there.
  Peer ServeBothOnTheConnectionThatIsThere(Peer& a, Peer& b) {
    Peer server = AcceptFor(a, "a\n");
    local_.StopListening();
    // The only connection has no room, and a dial fails.
    EXPECT_TRUE(b.Send("b\n"));
    EXPECT_TRUE(Eventually([&] { return shared().resent.Value() > 0; }));
    ExpectCarried(server, a, "A\n");
    EXPECT_EQ(server.Read(2), "b\n");
    ExpectCarried(server, b, "B\n");
    return server;
  }
  // A client with a request whose only server refuses.
  Peer ClientWithoutAReachableServer() {
    local_.StopListening();
    Start();
    Peer client = Connect();
    EXPECT_TRUE(client.Send("patience\n"));
    EXPECT_TRUE(Eventually([&] { return shared().resent.Value() > 0; }));
    return client;
  }
};

TEST_F(FailureTest, RefusedConnectIsRetriedUnnoticed) {
  StartWith({RefusingAddress(), local_.address()});
  std::vector<Peer> clients = ConnectAll(300, "ask\n");
  ServeAll(clients, "ask\n", "say\n");
  EXPECT_EQ(exchange_->worker().no_endpoint.Value(), 0u);
  EXPECT_EQ(exchange_->worker().connection_lost.Value(), 0u);
}

TEST_F(FailureTest, HundredsOfRequestsOnAFailedConnectAreRetriedTogether) {
  SilentServer silent;
  Exchange::Options options;
  options.limits.connect_timeout = absl::Seconds(1);
  StartWith({silent.address(), local_.address()}, options);
  exchange_->SetWeight(1, 0);
  exchange_->Apply();
  std::vector<Peer> clients = ConnectAll(250, "ask\n");
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  ServeAll(clients, "ask\n", "say\n");
  EXPECT_GT(shared().resent.Value(), 100u) << "more than the retry budget";
}

TEST_F(FailureTest, WrittenRequestEndsItsClientWhenTheConnectionDies) {
  Start();
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFor(a, "a\n");
  ExpectCarried(b, server, "b\n");
  server.Reset();
  for (Peer* client : {&a, &b}) {
    EXPECT_EQ(client->ReadToEnd(), "");
    EXPECT_EQ(client->ending(), Ending::kReset);
  }
  EXPECT_FALSE(local_.Knocked(0)) << "it was sent twice";
  EXPECT_TRUE(Eventually([&] { return exchange_->worker().connection_lost.Value() == 2; }));
  EXPECT_EQ(shared().resent.Value(), 0u);
}

TEST_F(FailureTest, ServerThatClosesBeforeItsReplyCausesAReset) {
  Start();
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
}

TEST_F(FailureTest, LostPipelineGetsOneLocalReply) {
  Start({.codec = test::Redis()});
  const std::string words(test::Redis()->LocalReply(Refusal::kLost));
  ASSERT_NE(words, "");
  Peer one = Connect();
  Peer server = AcceptFor(one, "GET a\r\n");
  Peer pipeline = Connect();
  ExpectCarried(pipeline, server, "GET b\r\nGET c\r\nGET d\r\n");
  ASSERT_TRUE(server.Send("+a\r\n+b\r\n"));
  EXPECT_EQ(one.Read(4), "+a\r\n");
  EXPECT_EQ(pipeline.Read(4), "+b\r\n");
  ExpectCarried(one, server, "GET e\r\n");
  server.Reset();
  // One local reply and a FIN; a reset could discard replies that the client has not read yet.
  for (Peer* client : {&one, &pipeline}) {
    EXPECT_EQ(client->ReadToEnd(), words);
    EXPECT_EQ(client->ending(), Ending::kFin);
  }
  EXPECT_EQ(exchange_->worker().connection_lost.Value(), 2u);
}

// A server may refuse a large upload early.
TEST_F(FailureTest, EarlyReplyToAnUploadReachesAClientThatStillSends) {
  Start({.codec = test::Http()});
  Peer client = Connect();
  const std::string upload(16 << 20, 'x');
  const std::string head =
      absl::StrCat("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ", upload.size(), "\r\n\r\n");
  Peer server = AcceptFor(client, head);
  const std::string reply =
      "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  ASSERT_TRUE(server.Send(reply));
  server.Close();
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 0; }));
  EXPECT_TRUE(client.Send(upload)) << "it was reset";
  EXPECT_EQ(client.ReadToEnd(), reply);
  EXPECT_EQ(client.ending(), Ending::kFin);
}

TEST_F(FailureTest, HalfAReplyIsFollowedByAReset) {
  Start({.idempotent = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  ExpectCarried(server, client, "half a re");
  server.Close();
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_FALSE(local_.Knocked(0)) << "it was sent again although a part of its reply was given";
}

TEST_F(FailureTest, UnwrittenRequestsOfALostConnectionAreRetriedElsewhere) {
  // If the server does not read, unsent requests stay in the proxy.
  LocalServer other;
  StartWith({local_.address(), other.address()}, {.codec = test::Frames(65'000)});
  exchange_->SetWeight(1, 0);
  exchange_->Apply();
  const std::string large = std::string("\xf0\x00", 2) + std::string(0xf000, 'x');
  std::vector<Peer> clients;
  // Fills the kernel's buffers on both sides until some requests stay unsent.
  const auto unsent = [&] {
    return shared().requests.Value() * large.size() > shared().bytes_written.Value() + 200'000;
  };
  while (!unsent() && clients.size() < 250) {
    clients.push_back(Connect());
    ASSERT_TRUE(clients.back().Send(large));
    const uint64_t sent = clients.size();
    if (!Eventually([&] { return shared().requests.Value() == sent || unsent(); })) break;
  }
  ASSERT_TRUE(unsent());
  Peer server = local_.Accept();
  exchange_->SetWeight(0, 0);
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  server.Reset();
  ASSERT_TRUE(Eventually([&] { return shared().resent.Value() > 0; }));
  Peer second = other.Accept();
  ASSERT_TRUE(second);
  // The whole request arrives, from its first byte on.
  EXPECT_EQ(second.Read(large.size()), large);
  ASSERT_TRUE(second.Send(std::string("\0\2ok", 4)));
  size_t answered = 0;
  for (Peer& client : clients) {
    if (test::WaitFor(client.fd(), POLLIN, 0)) answered += client.Read(4).size() == 4;
  }
  const auto look = [&] {
    for (Peer& client : clients) {
      if (client && test::WaitFor(client.fd(), POLLIN, 0) && client.Read(4).size() == 4) ++answered;
    }
    return answered > 0;
  };
  EXPECT_TRUE(Eventually(look));
}

TEST_F(FailureTest, IdempotentRequestIsSentAgain) {
  Start({.idempotent = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "a\n");
  server.Reset();
  Peer second = local_.Accept();
  EXPECT_EQ(second.Read(2), "a\n");
  ExpectCarried(second, client, "A\n");
  EXPECT_EQ(shared().resent.Value(), 1u);
}

// A server that dies closes its connections one after another.
TEST_F(FailureTest, LostRequestIsSentToAnotherServerThoughTheFirstHasIdleConnections) {
  LocalServer other;
  StartWith({local_.address(), other.address()},
            {.shared_connections = 4, .max_in_flight = 1, .idempotent = true});
  exchange_->SetWeight(1, 0);
  exchange_->Apply();
  std::vector<Peer> clients = ConnectAll(4, "ask\n");
  std::vector<Peer> servers;
  for (size_t i = 0; i < clients.size(); ++i) {
    servers.push_back(local_.Accept());
    ASSERT_EQ(servers.back().Read(4), "ask\n");
  }
  for (size_t i = 1; i < servers.size(); ++i) ASSERT_TRUE(servers[i].Send("say\n"));
  ASSERT_TRUE(Eventually([&] { return exchange_->cell(0).active.Value() == 1; }));
  exchange_->SetWeight(0, 1000);
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  servers[0].Reset();
  Peer second = other.Accept();
  ASSERT_TRUE(second);
  EXPECT_EQ(second.Read(4), "ask\n");
  ASSERT_TRUE(second.Send("say\n"));
  for (Peer& client : clients) EXPECT_EQ(client.Read(4), "say\n");
}

// `idempotent` allows to repeat requests, but a codec that knows better repeats only some of them.
struct OnceOnly {
  std::shared_ptr<const Codec> codec;
  std::string request;
  std::string words;  // the local reply
};

std::vector<OnceOnly> RequestsToExecuteOnce() {
  const std::string lost_http(test::Http()->LocalReply(Refusal::kLost));
  const std::string lost_redis(test::Redis()->LocalReply(Refusal::kLost));
  const std::string lost_memcached(test::Memcached()->LocalReply(Refusal::kLost));
  return {
      {test::Http(), "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none", lost_http},
      {test::Http(), "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", lost_http},
      {test::Redis(), "INCR orders\r\n", lost_redis},
      {test::Redis(), "*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$1\r\n1\r\n", lost_redis},
      {test::Memcached(), "incr orders 1\r\n", lost_memcached},
      {test::Memcached(), "add lock 0 0 2 noreply\r\nme\r\n", lost_memcached},
      {test::Memcached(), "ms lock 2 q ME\r\nme\r\n", lost_memcached},
      {test::Modbus(), test::ModbusMessage(1, std::string("\x11\x06\0\1\0\3", 6)), ""},
  };
}

TEST_F(FailureTest, RequestsThatMustNotRunTwiceAreNotRepeatedByServersThatBreak) {
  for (const OnceOnly& once : RequestsToExecuteOnce()) {
    SCOPED_TRACE(once.request);
    Start({.codec = once.codec, .idempotent = true});
    Peer client = Connect();
    ASSERT_TRUE(client.Send(once.request));
    Peer server = local_.Accept();
    ASSERT_EQ(server.Read(once.request.size()).size(), once.request.size());
    server.Reset();
    EXPECT_EQ(client.ReadToEnd(), once.words);
    EXPECT_FALSE(local_.Knocked(0)) << "it was sent again";
    EXPECT_EQ(shared().requests.Value(), 1u);
    exchange_.reset();
  }
}

// It moves once, unwritten, which must not make it repeatable.
TEST_F(FailureTest, RequestThatMovedBeforeItWasWrittenIsNotRepeatedLater) {
  for (const OnceOnly& once : RequestsToExecuteOnce()) {
    SCOPED_TRACE(once.request);
    StartWith({RefusingAddress(), local_.address()}, {.codec = once.codec, .idempotent = true});
    exchange_->SetWeight(1, 0);
    exchange_->Apply();
    Peer client = Connect();
    ASSERT_TRUE(client.Send(once.request));
    ASSERT_TRUE(Eventually([&] { return shared().resent.Value() == 1; }));
    exchange_->SetWeight(1, 1);
    exchange_->Apply();
    Peer server = local_.Accept();
    ASSERT_EQ(server.Read(once.request.size()).size(), once.request.size());
    server.Reset();
    EXPECT_EQ(client.ReadToEnd(), once.words);
    EXPECT_FALSE(local_.Knocked(0)) << "it was sent again";
    exchange_.reset();
  }
}

TEST_F(FailureTest, ReadsOfEveryCodecAreRepeatedIfTheServiceIsIdempotent) {
  const std::pair<std::shared_ptr<const Codec>, std::string> reads[] = {
      {test::Http(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {NewHttp1Codec({.idempotent_methods = {"POST"}}), "POST / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {test::Redis(), "GET a\r\n"},
      {test::Memcached(), "get a\r\n"},
      {test::Memcached(), "mg a q\r\n"},
      {test::Modbus(), test::ModbusMessage(1, std::string("\x11\x03\0\1\0\3", 6))}};
  for (const auto& [codec, request] : reads) {
    SCOPED_TRACE(request);
    Start({.codec = codec, .idempotent = true});
    Peer client = Connect();
    ASSERT_TRUE(client.Send(request));
    Peer server = local_.Accept();
    ASSERT_EQ(server.Read(request.size()).size(), request.size());
    server.Reset();
    Peer second = local_.Accept();
    EXPECT_EQ(second.Read(request.size()).size(), request.size());
    exchange_.reset();
  }
}

TEST_F(FailureTest, IdempotentPipelineIsSentAgainInItsOrder) {
  Start({.idempotent = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "1\n2\n3\n");
  ExpectCarried(server, client, "I\n");
  server.Reset();
  Peer second = local_.Accept();
  EXPECT_EQ(second.Read(4), "2\n3\n");
  ASSERT_TRUE(client.Send("4\n"));
  ASSERT_TRUE(second.Send("II\nIII\n"));
  EXPECT_EQ(second.Read(2), "4\n");
  ASSERT_TRUE(second.Send("IV\n"));
  EXPECT_EQ(client.Read(10), "II\nIII\nIV\n");
}

// The first connection fails, and the next one has room for the first request only.
TEST_F(FailureTest, IdempotentPipelineKeepsItsOrderAfterASecondLossInTheMiddle) {
  Start({.max_in_flight = 2, .idempotent = true});
  Peer client = Connect();
  Peer server = AcceptFor(client, "1\n2\n");
  Peer other = Connect();
  ASSERT_TRUE(other.Send("o\n"));
  ASSERT_TRUE(Eventually([&] { return exchange_->clients() == 2; }));
  server.Reset();
  Peer second = local_.Accept();
  EXPECT_EQ(second.Read(4), "o\n1\n");
  second.Reset();
  Peer third = local_.Accept();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(third.Send(third.Read(2)));
  EXPECT_EQ(other.Read(2), "o\n");
  EXPECT_EQ(client.Read(4), "1\n2\n");
}

TEST_F(FailureTest, IdempotentRequestIsGivenUpAfterThreeRetries) {
  Start({.idempotent = true});
  Peer client = Connect();
  ASSERT_TRUE(client.Send("poison\n"));
  for (int i = 0; i < 4; ++i) {
    Peer server = local_.Accept();
    ASSERT_EQ(server.Read(7), "poison\n") << i;
    server.Reset();
  }
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), Ending::kReset);
  EXPECT_FALSE(local_.Knocked(0));
}

TEST_F(FailureTest, ResentRequestKeepsTheClientsOwnId) {
  Start({.codec = test::FramesWithId(), .idempotent = true});
  Peer client = Connect();
  ASSERT_TRUE(client.Send(test::FrameWithId(4711, "x")));
  Peer server = local_.Accept();
  ASSERT_EQ(server.Read(5).size(), 5u);
  server.Reset();
  Peer second = local_.Accept();
  const std::string again = second.Read(5);
  EXPECT_EQ(again.substr(2), test::FrameWithId(0, "x").substr(2));
  ASSERT_TRUE(second.Send(again));
  EXPECT_EQ(client.Read(5), test::FrameWithId(4711, "x"));
}

TEST_F(FailureTest, ServerThatClosesAnIdleConnectionIsNotNoticed) {
  Start();
  Peer client = Connect();
  for (int i = 0; i < 20; ++i) {
    Peer server = AcceptFor(client, "a\n");
    ExpectCarried(server, client, "A\n");
    server.Close();
    // The next request may come before the proxy sees the server's FIN.
  }
  EXPECT_EQ(exchange_->worker().connection_lost.Value(), 0u);
}

// The listener is gone and a connection lives on, as during a restart of the server.
TEST_F(FailureTest, ExistingConnectionsServeOnWhenDialsAreRefused) {
  Start({.shared_connections = 4, .max_in_flight = 1});
  Peer a = Connect();
  Peer b = Connect();
  Peer server = ServeBothOnTheConnectionThatIsThere(a, b);
  ExpectExchange(a, server, "more\n", "done\n");
}

TEST_F(FailureTest, ServerThatReturnsAfterItsLastConnectionClosedIsFound) {
  Start({.shared_connections = 4,
         .max_in_flight = 1,
         .shared_idle_timeout = absl::Milliseconds(100)});
  Peer a = Connect();
  Peer b = Connect();
  Peer server = ServeBothOnTheConnectionThatIsThere(a, b);
  // The idle connection closes while dials still fail.
  EXPECT_EQ(server.ReadToEnd(), "");
  LocalServer back(local_.address());
  ASSERT_TRUE(a.Send("again\n"));
  Peer again = back.Accept();
  // The probe that found it carries the request.
  EXPECT_EQ(again.Read(6), "again\n");
  ExpectCarried(again, a, "there\n");
}

TEST_F(FailureTest, RequestWaitsForAServerThatIsRestarted) {
  Peer client = ClientWithoutAReachableServer();
  LocalServer back(local_.address());
  Peer accepted = back.Accept();
  EXPECT_EQ(accepted.Read(9), "patience\n");
  ExpectCarried(accepted, client, "rewarded\n");
}

TEST_F(FailureTest, EndpointRemovedAndRestoredWhileItRefusesIsFound) {
  Peer client = ClientWithoutAReachableServer();
  exchange_->Remove(0);
  exchange_->Apply();
  exchange_->Restore(0);
  exchange_->Apply();
  LocalServer back(local_.address());
  Peer accepted = back.Accept();
  EXPECT_EQ(accepted.Read(9), "patience\n");
}

TEST_F(FailureTest, ClientIsClosedAfterTheConnectTimeoutWithoutAnyServer) {
  Exchange::Options options{.codec = test::Http()};
  options.limits.connect_timeout = absl::Milliseconds(200);
  StartWith({RefusingAddress()}, options);
  Peer client = Connect();
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  const std::string words = client.ReadToEnd();
  EXPECT_EQ(words.find("HTTP/1.1 503"), 0u) << words;
  EXPECT_EQ(client.ending(), Ending::kFin);
  EXPECT_EQ(exchange_->worker().no_endpoint.Value(), 1u);
}

}  // namespace
}  // namespace trunkline
