// The memcached codec. The behaviour of servers that the comments name is that of memcached 1.6.18.
#include "dataplane/codec/memcached.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached_command.h"
#include "dataplane/codec/memcached_reply.h"
#include "dataplane/codec/memcached_request.h"
#include "tests/dataplane/codec/found.h"

namespace trunkline {
namespace {

using test::FindReplies;
using test::FindRequests;
using test::FoundReply;
using test::FoundRequest;
using ::testing::SizeIs;
using Delivery = Reply::Delivery;

std::unique_ptr<Codec> Memcached(size_t max = MemcachedOptions().max_request_bytes) {
  return NewMemcachedCodec({.max_request_bytes = max});
}

FoundRequest OneRequest(std::string_view bytes, const Codec& codec = *Memcached()) {
  const std::vector<FoundRequest> found = FindRequests(codec, bytes);
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundRequest() : found[0];
}

// Expects a whole request of exactly these bytes that shares a connection.
Request Shared(std::string_view bytes) {
  const FoundRequest request = OneRequest(bytes);
  EXPECT_EQ(request.state, ParseState::kEnd) << bytes;
  EXPECT_EQ(request.size, bytes.size()) << bytes;
  EXPECT_FALSE(request.request.dedicated) << bytes;
  EXPECT_EQ(request.streamed_at, FoundRequest::kNever) << bytes;
  return request.request;
}

// The first line decides; what follows it need not be read.
bool IsDedicated(std::string_view bytes) {
  const std::vector<FoundRequest> found = FindRequests(*Memcached(), bytes);
  if (found.empty()) return false;
  return found[0].request.dedicated || found[0].at_stream.dedicated;
}

// The reply to `request`, which must be all of `bytes`.
FoundReply ReplyTo(std::string_view request, std::string_view bytes) {
  const auto found = FindReplies(*Memcached(), bytes, {Shared(request).reply_hint});
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundReply() : found[0];
}

bool Answers(std::string_view request, std::string_view bytes) {
  const FoundReply reply = ReplyTo(request, bytes);
  return reply.state == ParseState::kEnd && reply.size == bytes.size();
}

constexpr std::string_view kCommands[] = {
    "get a\r\n",
    "gets a b  c \r\n",
    "gat 0 a\r\n",
    "gats -1 a b\r\n",
    "get a\n",
    "set a 0 0 2\r\nab\r\n",
    "add a 1 60 0\r\n\r\n",
    "replace a 4294967295 -1 2\r\n\r\n\r\n",
    "append a 0 0 1\nx\r\n",
    "prepend a 0 0 1\r\nx\r\n",
    "cas a 0 0 1 18446744073709551615\r\nx\r\n",
    "delete a\r\n",
    "incr a 1\r\n",
    "decr a 18446744073709551615\r\n",
    "touch a 10\r\n",
    "version\r\n",
    "flush_all\r\n",
    "flush_all 10\r\n",
    "mg a\r\n",
    "mg a b c f h k l s t v O0123456789012345678901234567890 N30 R5 T-1\r\n"};

// --- requests

TEST(MemcachedRequestTest, CommandsOnDataShareConnections) {
  for (const std::string_view command : kCommands) {
    if (command.find(" b ") != std::string_view::npos) continue;  // below
    const Request request = Shared(command);
    EXPECT_FALSE(request.local) << command;
    EXPECT_EQ(request.blank_size, 0u) << command;
  }
  for (const std::string_view command :
       {"mg YWI= b k\r\n", "ms a 2\r\nab\r\n", "ms a 2 T0 F1 c k MA N60 C5 I O1\r\nab\r\n",
        "md a\r\n", "md a I T30 C5 k O1\r\n", "ma a\r\n", "ma a N0 J5 D3 T30 MD v t c k O1\r\n",
        "mn\r\n", "me a\r\n", "me YWI= b\r\n"}) {
    Shared(command);
  }
}

TEST(MemcachedRequestTest, CommandsAboutTheConnectionOrTheServerAreDedicated) {
  for (const std::string_view command : {"stats\r\n",
                                         "stats items\r\n",
                                         "watch fetchers\r\n",
                                         "lru mode flat\r\n",
                                         "lru_crawler metadump all\r\n",
                                         "slabs reassign 1 2\r\n",
                                         "shutdown\r\n",
                                         "verbosity 1\r\n",
                                         "cache_memlimit 5\r\n",
                                         "refresh_certs\r\n",
                                         "GET a\r\n",
                                         "nonsense\r\n",
                                         "x\r\n",
                                         "\r\n",
                                         "\n",
                                         " get a\r\n",
                                         "g\r\n",
                                         "getsx a\r\n",
                                         "mz a\r\n",
                                         "quit now\r\n",
                                         "GET / HTTP/1.1\r\n"}) {
    EXPECT_TRUE(IsDedicated(command)) << command;
  }
}

// Before its end: a binary request has no line, and its client waits for the reply.
TEST(MemcachedRequestTest, BinaryProtocolIsDedicatedAtItsFirstBytes) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(OneRequest("\x80\0\0\1\0\0\0\0\0\0\0\1"sv).streamed_at, 2u);
}

// memcached answers some of these with nothing, and others with an error for the line and one for
// the data block.
TEST(MemcachedRequestTest, MalformedCommandsAreDedicated) {
  const std::string long_key(kMaxMemcachedKeyBytes + 1, 'k');
  for (const std::string& command :
       {std::string("get\r\n"), std::string("get \r\n"), "get " + long_key + "\r\n",
        "get a " + long_key + "\r\n", "set " + long_key + " 0 0 2\r\nab\r\n",
        "ms " + long_key + " 2\r\nab\r\n", "mg " + long_key + "\r\n"}) {
    EXPECT_TRUE(IsDedicated(command)) << command;
  }
  for (const std::string_view command : {"set a 0 0\r\n",
                                         "set a 0 0 x\r\n",
                                         "set a 0 0 -1\r\n",
                                         "set a 0 0 2 nope\r\nab\r\n",
                                         "set a 0 0 2 noreply noreply\r\nab\r\n",
                                         "set a x 0 2\r\nab\r\n",
                                         "set a -1 0 2\r\nab\r\n",
                                         "set a 4294967296 0 2\r\nab\r\n",
                                         "set a 0 2147483648 2\r\nab\r\n",
                                         "set a 0 1x 2\r\nab\r\n",
                                         "set a 0 0 2147483646\r\n",
                                         "set a 0 0 99999999999999999999999999\r\n",
                                         "set a 0 0 noreply\r\n",
                                         "cas a 0 0 2\r\nab\r\n",
                                         "cas a 0 0 2 x\r\nab\r\n",
                                         "cas a 0 0 2 18446744073709551616\r\nab\r\n",
                                         "incr a\r\n",
                                         "incr a noreply\r\n",
                                         "incr a x\r\n",
                                         "incr a 1 2\r\n",
                                         "touch a noreply\r\n",
                                         "touch a\r\n",
                                         "delete a 0\r\n",
                                         "delete a b\r\n",
                                         "delete a noreply noreply\r\n",
                                         "gat a\r\n",
                                         "gat x a\r\n",
                                         "flush_all x\r\n",
                                         "flush_all noreply 1\r\n",
                                         "version 1\r\n",
                                         "mn q\r\n",
                                         "mg\r\n",
                                         "ms a\r\n",
                                         "ms a S2\r\nab\r\n",
                                         "ms a x\r\nab\r\n",
                                         "get a\tb\r\n",
                                         "get a\rb\r\n",
                                         "get a\x7f\r\n",
                                         "set a\x01 0 0 2\r\nab\r\n"}) {
    EXPECT_TRUE(IsDedicated(command)) << command;
  }
  using std::string_view_literals::operator""sv;
  EXPECT_TRUE(IsDedicated("get a\0b\r\n"sv));
}

TEST(MemcachedRequestTest, UnknownOrRepeatedMetaFlagsAreDedicated) {
  for (const std::string_view flags :
       {"!", "x", "q q", "qq", "v v", "O", "O01234567890123456789012345678901", "Tx", "T", "T1x",
        "T2147483648", "kk", "N", "M", "C1", "E5", "T1 T2", "\xc3\xa4",
        "b c f h k l s t v q O1 N1 R1 T1 q"}) {
    EXPECT_TRUE(IsDedicated("mg a " + std::string(flags) + "\r\n")) << flags;
  }
  for (const std::string_view flags : {"MZ", "MSS", "F4294967296", "Cx", "v", "E5", "S5"}) {
    EXPECT_TRUE(IsDedicated("ms a 2 " + std::string(flags) + "\r\nab\r\n")) << flags;
  }
  EXPECT_TRUE(IsDedicated("ma a MA\r\n"));
}

// memcached shows the value of a new counter and hides that of an old one.
TEST(MemcachedRequestTest, QuietCounterThatMayBeMadeIsDedicated) {
  EXPECT_TRUE(IsDedicated("ma a q N0\r\n"));
  EXPECT_TRUE(IsDedicated("ma a N0 J5 v q\r\n"));
  Shared("ma a N0 J5 v\r\n");
  Shared("mg a q N30\r\n");
  Shared("ms a 1 q MA N0\r\nx\r\n");
}

// memcached cannot decode the others.
TEST(MemcachedRequestTest, KeysInBase64AreWhole) {
  for (const std::string_view key : {"YWI=", "YQ==", "YWJj", "+/09AZaz"}) {
    Shared("mg " + std::string(key) + " v b\r\n");
  }
  for (const std::string_view key : {"YWI", "a!bc", "Y===", "=abc", "YQ=a", "YW==I==="}) {
    EXPECT_TRUE(IsDedicated("mg " + std::string(key) + " v b\r\n")) << key;
    Shared("mg " + std::string(key) + " v\r\n");
  }
}

TEST(MemcachedRequestTest, KeysMayHaveTheMostBytesAndAnyByteOfText) {
  const std::string key(kMaxMemcachedKeyBytes, 'k');
  Shared("get " + key + " " + key + "\r\n");
  Shared("set " + key + " 0 0 2\r\nab\r\n");
  Shared("mg " + key + "\r\n");
  Shared("get \xc3\xa4\xff\r\n");
  Shared("get noreply\r\n");
}

TEST(MemcachedRequestTest, SplitsDoNotMoveBoundaries) {
  std::string all;
  for (const std::string_view command : kCommands) all += command;
  all +=
      "set a 0 0 7 noreply\r\nget a\r\n\r\nquit\r\nms a 2 q\r\nab\r\nstats\r\nget a\rb\r\nincr a";
  test::ExpectSameRequestsForEveryCut(*Memcached(), all);
  test::ExpectSameRequestsForEveryCut(*Memcached(/*max=*/30), all);
}

TEST(MemcachedRequestTest, DataBlocksMayLookLikeCommands) {
  const auto found = FindRequests(
      *Memcached(), "set a 0 0 12\r\nget b\r\nquit\r\r\nget a\r\nms a 2\r\n\r\n\r\nmn\r\n");
  ASSERT_THAT(found, SizeIs(4));
  EXPECT_EQ(found[0].size, 28u);
  EXPECT_EQ(found[2].size, 12u);
}

TEST(MemcachedRequestTest, DataBlocksWithAnotherEndAreBroken) {
  for (const std::string_view command : {"set a 0 0 2\r\nabc\r\n", "set a 0 0 2\r\nab\n",
                                         "set a 0 0 2\r\nab\rx", "ms a 0\r\nab\r\n"}) {
    EXPECT_EQ(OneRequest(command).state, ParseState::kBroken) << command;
  }
}

// The server replies to every request, so that no reply is missing or unasked.
TEST(MemcachedRequestTest, NoreplyAndQuietFlagAreBlanked) {
  for (const std::string_view command :
       {"set a 0 0 2 noreply\r\nab\r\n", "cas a 0 0 2 5  noreply \r\nab\r\n",
        "delete a noreply\r\n", "incr a 1 noreply\r\n", "touch a 1 noreply\n",
        "flush_all noreply\r\n", "flush_all 1 noreply\r\n"}) {
    const Request request = Shared(command);
    EXPECT_EQ(command.substr(request.blank_offset, request.blank_size), "noreply") << command;
  }
  for (const std::string_view command :
       {"mg a q\r\n", "mg a v q k\r\n", "ms a 2 q T0\r\nab\r\n", "md a  q \r\n", "ma a q\n"}) {
    const Request request = Shared(command);
    EXPECT_EQ(command.substr(request.blank_offset - 1, 2), " q") << command;
    EXPECT_EQ(request.blank_size, 1u) << command;
  }
}

TEST(MemcachedRequestTest, QuitIsLocalAndTheClientsLast) {
  const Request request = Shared("quit\r\n");
  EXPECT_TRUE(request.local);
  EXPECT_TRUE(request.last);
  EXPECT_EQ(request.answer, "");
}

TEST(MemcachedRequestTest, CommandsThatReadOrWriteGivenValuesAreRepeatable) {
  for (const std::string_view command :
       {"get a\r\n", "gets a\r\n", "gat 1 a\r\n", "set a 0 0 1\r\nx\r\n",
        "set a 0 0 1 noreply\r\nx\r\n", "delete a\r\n", "touch a 1\r\n", "version\r\n",
        "mg a v T30\r\n", "ms a 1 MS T5 F1\r\nx\r\n", "md a q\r\n", "me a\r\n", "mn\r\n"}) {
    EXPECT_TRUE(Shared(command).repeatable) << command;
  }
}

TEST(MemcachedRequestTest, CommandsThatAddOrDecideAreNotRepeatable) {
  for (const std::string_view command :
       {"add a 0 0 1\r\nx\r\n", "replace a 0 0 1\r\nx\r\n", "append a 0 0 1\r\nx\r\n",
        "prepend a 0 0 1\r\nx\r\n", "cas a 0 0 1 1\r\nx\r\n", "incr a 1\r\n", "decr a 1\r\n",
        "flush_all\r\n", "mg a N30\r\n", "mg a R30\r\n", "ms a 1 ME\r\nx\r\n", "ms a 1 C5\r\nx\r\n",
        "md a I\r\n", "md a C5\r\n", "ma a\r\n", "quit\r\n"}) {
    EXPECT_FALSE(Shared(command).repeatable) << command;
  }
}

TEST(MemcachedRequestTest, RequestAtTheLimitIsBufferedAndOneAboveIsStreamed) {
  const std::string command = "set key 0 0 5\r\nvalue\r\n";
  const FoundRequest held = OneRequest(command, *Memcached(command.size()));
  EXPECT_EQ(held.streamed_at, FoundRequest::kNever);
  EXPECT_FALSE(held.request.dedicated);
  const FoundRequest streamed = OneRequest(command, *Memcached(command.size() - 1));
  EXPECT_EQ(streamed.streamed_at, 15u) << "at the end of the line that announces the block";
  EXPECT_TRUE(streamed.at_stream.dedicated);
  EXPECT_EQ(streamed.size, command.size());
}

// memcached closes a connection on which so many bytes have no line feed, except for these two.
TEST(MemcachedRequestTest, OnlyGetMayHaveALongLine) {
  const std::string keys(kMaxMemcachedLineBytes / 2, 'k');
  std::string line;
  while (line.size() < kMaxMemcachedLineBytes) line += " " + std::string(200, 'k');
  Shared("get" + line + "\r\n");
  Shared("gets" + line + "\r\n");
  EXPECT_EQ(OneRequest("gat 0" + line + "\r\n").streamed_at, kMaxMemcachedLineBytes);
  const FoundRequest get = OneRequest("get" + line + "\r\n", *Memcached(/*max=*/1000));
  EXPECT_EQ(get.streamed_at, 1000u);
  EXPECT_TRUE(get.at_stream.dedicated);
}

// --- replies

TEST(MemcachedReplyTest, RepliesOfEachCommandAreWhole) {
  const std::pair<std::string_view, std::vector<std::string_view>> cases[] = {
      {"get a\r\n",
       {"END\r\n", "VALUE a 0 0\r\n\r\nEND\r\n",
        "VALUE a 0 5\r\nEND\r\n\r\nVALUE b 4294967295 2 18446744073709551615\r\n\r\n\r\nEND\r\n",
        "SERVER_ERROR out of memory\r\n", "VALUE a 0 1\r\nx\r\nSERVER_ERROR oops\r\n",
        "ERROR\r\n"}},
      {"set a 0 0 1\r\nx\r\n",
       {"STORED\r\n", "NOT_STORED\r\n", "EXISTS\r\n", "NOT_FOUND\r\n",
        "SERVER_ERROR object too large for cache\r\n", "CLIENT_ERROR bad data chunk\r\n"}},
      {"delete a\r\n", {"DELETED\r\n", "NOT_FOUND\r\n"}},
      {"touch a 1\r\n", {"TOUCHED\r\n", "NOT_FOUND\r\n"}},
      {"incr a 1\r\n",
       {"0\r\n", "18446744073709551615\r\n", "5  \r\n", "NOT_FOUND\r\n",
        "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"}},
      {"flush_all\r\n", {"OK\r\n"}},
      {"version\r\n", {"VERSION 1.6.18\r\n"}},
      {"mg a\r\n",
       {"EN\r\n", "HD\r\n", "HD t-1 kfoo\r\n", "VA 0\r\n\r\n", "VA 2 kEN s2\r\nEN\r\n",
        "CLIENT_ERROR invalid flag\r\n"}},
      {"ms a 1\r\nx\r\n", {"HD\r\n", "NS kfoo\r\n", "EX\r\n", "NF\r\n"}},
      {"me a\r\n", {"EN\r\n", "ME a exp=-1 la=0\r\n"}},
      {"mn\r\n", {"MN\r\n"}}};
  for (const auto& [request, replies] : cases) {
    for (const std::string_view reply : replies) {
      EXPECT_TRUE(Answers(request, reply)) << request << reply;
      test::ExpectSameRepliesForEveryCut(*Memcached(), std::string(reply),
                                         {Shared(request).reply_hint});
    }
  }
}

// The reply to another command would mean that replies have shifted.
TEST(MemcachedReplyTest, ReplyOfAnotherCommandIsBroken) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"get a\r\n", "STORED\r\n"},
      {"get a\r\n", "5\r\n"},
      {"get a\r\n", "EN\r\n"},
      {"set a 0 0 1\r\nx\r\n", "END\r\n"},
      {"set a 0 0 1\r\nx\r\n", "HD\r\n"},
      {"incr a 1\r\n", "STORED\r\n"},
      {"incr a 1\r\n", "-5\r\n"},
      {"delete a\r\n", "TOUCHED\r\n"},
      {"mg a\r\n", "MN\r\n"},
      {"mg a\r\n", "END\r\n"},
      {"mn\r\n", "HD\r\n"},
      {"version\r\n", "OK\r\n"},
      {"flush_all\r\n", "ERRORS\r\n"},
      {"get a\r\n", "VALUES a 0 0\r\n"}};
  for (const auto& [request, reply] : cases) {
    EXPECT_EQ(ReplyTo(request, reply).state, ParseState::kBroken) << request << reply;
  }
}

TEST(MemcachedReplyTest, MalformedRepliesAreBroken) {
  for (const std::string_view reply :
       {"\r\n", " END\r\n", "END\n", "END\rx", "END \n", "VALUE\r\n", "VALUE a\r\n",
        "VALUE a 0\r\n", "VALUE a 0 \r\n", "VALUE a 0 x\r\n", "VALUE a 0 -1\r\n",
        "VALUE a 0 12345678901\r\n", "VALUE a 0 1\nx\r\n", "VALUE a 0 1\r\nxy\r\n",
        "VALUE a 0 1\r\nx\n", "VALUE a 0 1\r\nx\r\n\r\n", "endless word without an end"}) {
    EXPECT_EQ(ReplyTo("get a\r\n", reply).state, ParseState::kBroken) << reply;
  }
  const std::string most(kMaxMemcachedReplyLineBytes - 13, 'x');
  EXPECT_TRUE(Answers("get a\r\n", "SERVER_ERROR " + most.substr(1) + "\r\n"));
  EXPECT_EQ(ReplyTo("get a\r\n", "SERVER_ERROR " + most + "x\r\n").state, ParseState::kBroken);
  EXPECT_EQ(ReplyTo("get a\r\n", "VALUE " + most + std::string(10, 'x')).state,
            ParseState::kBroken);
}

TEST(MemcachedReplyTest, RepliesThatAQuietClientDoesNotWantAreDiscarded) {
  const auto delivery = [](std::string_view request, std::string_view reply) {
    return ReplyTo(request, reply).reply.delivery;
  };
  for (const std::string_view reply : {"STORED\r\n", "NOT_STORED\r\n", "SERVER_ERROR oops\r\n"}) {
    EXPECT_EQ(delivery("set a 0 0 1 noreply\r\nx\r\n", reply), Delivery::kDiscarded) << reply;
    EXPECT_EQ(delivery("set a 0 0 1\r\nx\r\n", reply), Delivery::kWanted) << reply;
  }
  const std::pair<std::string_view, std::string_view> unwanted[] = {
      {"mg a q\r\n", "EN\r\n"},        {"mg a q k\r\n", "EN ka\r\n"},
      {"ms a 1 q\r\nx\r\n", "HD\r\n"}, {"md a q\r\n", "HD O1\r\n"},
      {"ma a q\r\n", "HD\r\n"},        {"ma a q v\r\n", "VA 2\r\n10\r\n"}};
  for (const auto& [request, reply] : unwanted) {
    EXPECT_EQ(delivery(request, reply), Delivery::kDiscarded) << request << reply;
  }
  const std::pair<std::string_view, std::string_view> wanted[] = {
      {"mg a q\r\n", "HD\r\n"},        {"mg a q v\r\n", "VA 2\r\nEN\r\n"},
      {"ms a 1 q\r\nx\r\n", "NS\r\n"}, {"md a q\r\n", "NF\r\n"},
      {"ma a q\r\n", "NF\r\n"},        {"mg a q\r\n", "SERVER_ERROR oops\r\n"},
      {"mg a\r\n", "EN\r\n"}};
  for (const auto& [request, reply] : wanted) {
    EXPECT_EQ(delivery(request, reply), Delivery::kWanted) << request << reply;
  }
}

// The bytes until then fit into the place that the connection has for them.
TEST(MemcachedReplyTest, DeliveryIsKnownAtTheEndOfTheFirstWord) {
  const auto parser = Memcached()->NewReplyParser();
  const std::string reply = "SERVER_ERROR oops\r\n";
  parser->Begin(Shared("mg a q\r\n").reply_hint);
  size_t undecided = 0;
  for (const char byte : reply) {
    const auto bytes = static_cast<uint8_t>(byte);
    parser->Parse({&bytes, 1});
    undecided += parser->reply().delivery == Delivery::kUndecided ? 1 : 0;
  }
  EXPECT_EQ(undecided, std::string_view("SERVER_ERROR").size());
}

// It may take the data block for commands and answer these as well.
TEST(MemcachedReplyTest, RefusedDataIsTheConnectionsLastReply) {
  for (const std::string_view request : {"set a 0 0 1\r\nx\r\n", "ms a 1\r\nx\r\n"}) {
    EXPECT_TRUE(ReplyTo(request, "ERROR\r\n").reply.last) << request;
    EXPECT_TRUE(ReplyTo(request, "CLIENT_ERROR bad command line format\r\n").reply.last) << request;
    EXPECT_FALSE(ReplyTo(request, "SERVER_ERROR object too large for cache\r\n").reply.last);
  }
  EXPECT_FALSE(ReplyTo("incr a 1\r\n", "CLIENT_ERROR cannot increment\r\n").reply.last);
}

}  // namespace
}  // namespace trunkline
