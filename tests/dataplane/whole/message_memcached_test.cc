// memcached in message mode: commands whose client wants no reply share connections with others,
// and no byte that the server sends for them reaches a client that did not ask for it.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "dataplane/codec/codec.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectCarried;
using test::Peer;

class MemcachedTest : public test::ExchangeTest {
 protected:
  void SetUp() override { Start({.codec = test::Memcached()}); }

  // The server reads `wanted` and answers with `reply`.
  static void Answer(Peer& server, const std::string& wanted, const std::string& reply) {
    ASSERT_EQ(server.Read(wanted.size()), wanted);
    ASSERT_TRUE(server.Send(reply));
  }
  // Another client's request behind those that were answered, with a reply of its own.
  void ExpectOthersServed(Peer& other, Peer& server) {
    const std::string reply = "VALUE other 0 1\r\no\r\nEND\r\n";
    ASSERT_TRUE(other.Send("get other\r\n"));
    Answer(server, "get other\r\n", reply);
    EXPECT_EQ(other.Read(reply.size()), reply);
  }
};

TEST_F(MemcachedTest, CommandsOfManyClientsShareOneConnection) {
  Peer a = Connect();
  Peer b = Connect();
  Peer server = AcceptFor(a, "set k 0 0 5\r\nEND\r\n\r\n");
  ExpectCarried(b, server, "get k none\r\n");
  ASSERT_TRUE(server.Send("STORED\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\n"));
  EXPECT_EQ(a.Read(8), "STORED\r\n");
  EXPECT_EQ(b.Read(25), "VALUE k 0 5\r\nEND\r\n\r\nEND\r\n");
  EXPECT_FALSE(local_.Knocked(0));
}

// An error for `noreply` is one that no client expects. The server is made to reply always.
TEST_F(MemcachedTest, ReplyToNoreplyReachesNoClient) {
  Peer quiet = Connect();
  Peer other = Connect();
  ASSERT_TRUE(quiet.Send("set k 0 0 1 noreply\r\nx\r\n"));
  Peer server = local_.Accept();
  for (const char* reply : {"STORED\r\n", "SERVER_ERROR out of memory\r\n", "NOT_STORED\r\n"}) {
    Answer(server, "set k 0 0 1        \r\nx\r\n", reply);
    ExpectOthersServed(other, server);
    ASSERT_TRUE(quiet.Send("set k 0 0 1 noreply\r\nx\r\n"));
  }
  Answer(server, "set k 0 0 1        \r\nx\r\n", "STORED\r\n");
  // Its next reply is that to its next command that wants one.
  ASSERT_TRUE(quiet.Send("incr k 1 noreply\r\nincr k 1\r\n"));
  Answer(server, "incr k 1        \r\nincr k 1\r\n", "6\r\n7\r\n");
  EXPECT_EQ(quiet.Read(3), "7\r\n");
  EXPECT_FALSE(local_.Knocked(0));
}

TEST_F(MemcachedTest, QuietMetaCommandsGetWhatTheServerWouldHaveSent) {
  Peer quiet = Connect();
  Peer other = Connect();
  Peer server = AcceptFor(quiet, "mn\r\n");
  ExpectCarried(server, quiet, "MN\r\n");
  ASSERT_TRUE(
      quiet.Send("mg a q k v\r\nmg b q k v\r\nms c 1 q\r\nx\r\nma d q v\r\nmd e q\r\nmn\r\n"));
  const std::string sent =
      "mg a   k v\r\nmg b   k v\r\nms c 1  \r\nx\r\nma d   v\r\nmd e  \r\nmn\r\n";
  ASSERT_EQ(server.Read(sent.size()), sent);
  ASSERT_TRUE(other.Send("mg a\r\n"));
  ASSERT_EQ(server.Read(6), "mg a\r\n");
  // Byte by byte, so that the proxy must keep the beginnings of replies.
  const std::string replies = "EN ka\r\nVA 2 kb\r\nEN\r\nNS\r\nVA 2\r\n10\r\nHD\r\nMN\r\nHD\r\n";
  for (const char byte : replies) {
    const uint64_t before = shared().bytes_read.Value();
    ASSERT_TRUE(server.Send(std::string(1, byte)));
    ASSERT_TRUE(Eventually([&] { return shared().bytes_read.Value() == before + 1; }));
  }
  EXPECT_EQ(quiet.Read(21), "VA 2 kb\r\nEN\r\nNS\r\nMN\r\n");
  EXPECT_EQ(other.Read(4), "HD\r\n");
  EXPECT_EQ(shared().protocol_errors.Value(), 0u);
}

// Such a client is gone before its replies.
TEST_F(MemcachedTest, ClientThatLeavesBehindNoreplyCommandsLeavesThemDone) {
  Peer quiet = Connect();
  Peer other = Connect();
  ASSERT_TRUE(quiet.Send("set k 0 0 1 noreply\r\nx\r\ndelete l noreply\r\nquit\r\n"));
  Peer server = local_.Accept();
  const std::string sent = "set k 0 0 1        \r\nx\r\ndelete l        \r\n";
  ASSERT_EQ(server.Read(sent.size()), sent);
  ASSERT_TRUE(server.Send("STORED\r\nDELETED\r\n"));
  EXPECT_EQ(quiet.ReadToEnd(), "");
  EXPECT_EQ(quiet.ending(), test::Ending::kFin);
  ExpectOthersServed(other, server);
}

TEST_F(MemcachedTest, QuitEndsItsClientOnlyBehindItsReplies) {
  Peer client = Connect();
  Peer other = Connect();
  Peer server = AcceptFor(client, "get k\r\n");
  ASSERT_TRUE(client.Send("quit\r\nget never\r\n"));
  ASSERT_TRUE(server.Send("END\r\n"));
  EXPECT_EQ(client.ReadToEnd(), "END\r\n");
  EXPECT_EQ(client.ending(), test::Ending::kFin);
  ExpectOthersServed(other, server);
}

TEST_F(MemcachedTest, QuitNeedsNoServer) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("quit\r\n"));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.ending(), test::Ending::kFin);
  EXPECT_FALSE(local_.Knocked(0));
}

// The server may take the data block for commands, whose replies belong to no request.
TEST_F(MemcachedTest, NoReplyToARefusedDataBlockReachesAnotherClient) {
  Peer client = Connect();
  Peer other = Connect();
  Peer server = AcceptFor(client, "ms k 2\r\nmn\r\n");
  ExpectCarried(other, server, "mn\r\n");
  server.Send("ERROR\r\nMN\r\nMN\r\n");
  EXPECT_EQ(client.ReadToEnd(), "ERROR\r\n");
  EXPECT_EQ(server.ReadToEnd(), "");
  EXPECT_EQ(other.ReadToEnd(), test::Memcached()->LocalReply(Refusal::kLost));
}

TEST_F(MemcachedTest, OtherCommandsGiveTheirClientAConnectionOfItsOwn) {
  Peer client = Connect();
  Peer server = AcceptFor(client, "get k\r\n");
  ExpectCarried(server, client, "END\r\n");
  Peer own = AcceptFor(client, "stats\r\nincr a noreply\r\nget k\r\n");
  ExpectCarried(own, client, "STAT pid 1\r\nEND\r\nEND\r\n");
  ExpectCarried(client, own, "quit\r\n");
}

TEST_F(MemcachedTest, BinaryProtocolHasAConnectionOfItsOwn) {
  Peer client = Connect();
  AcceptFor(client, std::string("\x80\0\0\1", 4));
}

TEST_F(MemcachedTest, DataBlockWithAnotherEndIsRefused) {
  Peer client = Connect();
  ASSERT_TRUE(client.Send("set k 0 0 1\r\nxyz\r\n"));
  EXPECT_EQ(client.ReadToEnd(), "CLIENT_ERROR bad data chunk\r\n");
}

}  // namespace
}  // namespace trunkline
