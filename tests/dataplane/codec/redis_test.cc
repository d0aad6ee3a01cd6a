// The redis codec against exchanges with a real server (redis_exchanges.h) and, for replies that it
// does not send, examples of the RESP3 specification.
#include "dataplane/codec/redis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_reply.h"
#include "tests/dataplane/codec/found.h"
#include "tests/dataplane/codec/redis_exchanges.h"

namespace trunkline {
namespace {

using test::FindReplies;
using test::FindRequests;
using test::FoundReply;
using test::FoundRequest;
using ::testing::SizeIs;

std::unique_ptr<Codec> Redis(size_t max_request_bytes = RedisOptions().max_request_bytes) {
  return NewRedisCodec({.max_request_bytes = max_request_bytes});
}

std::string Command(const std::vector<std::string>& words) {
  std::string command = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    command += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return command;
}

FoundRequest OneRequest(std::string_view bytes, const Codec& codec = *Redis()) {
  const std::vector<FoundRequest> found = FindRequests(codec, bytes);
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundRequest() : found[0];
}

FoundReply OneReply(std::string_view bytes) {
  const std::vector<FoundReply> found = FindReplies(*Redis(), bytes);
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundReply() : found[0];
}

bool IsShared(std::string_view bytes) {
  const FoundRequest request = OneRequest(bytes);
  EXPECT_EQ(request.state, ParseState::kEnd) << bytes;
  return !request.request.dedicated;
}

ParseState RequestState(std::string_view bytes) { return OneRequest(bytes).state; }
ParseState ReplyState(std::string_view bytes) { return OneReply(bytes).state; }

// --- requests

TEST(RedisRequestTest, RecordedCommandsAreSeparated) {
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp2) {
    const FoundRequest request = OneRequest(exchange.request);
    EXPECT_EQ(request.state, ParseState::kEnd) << exchange.request;
    EXPECT_EQ(request.size, exchange.request.size()) << exchange.request;
    const bool dedicated = exchange.request.find("DEBUG") != std::string_view::npos ||
                           exchange.request.find("SCAN") != std::string_view::npos;
    EXPECT_EQ(request.request.dedicated, dedicated) << exchange.request;
  }
}

TEST(RedisRequestTest, SplitsDoNotMoveBoundaries) {
  std::string all;
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp2) all += exchange.request;
  all += "PING\r\n\r\n*0\r\n  get  key \nmulti\r\nset k \"a b\"\r\n" +
         Command({"XREAD", "BLOCK", "0", "STREAMS", "x", "$"}) + Command({"GET", "k"}) + "*1\r\n$-";
  test::ExpectSameRequestsForEveryCut(*Redis(), all);
  test::ExpectSameRequestsForEveryCut(*Redis(/*max_request_bytes=*/40), all);
}

TEST(RedisRequestTest, PipelinedCommandsAreSeparate) {
  const std::string first = Command({"SET", "k", "*1\r\n$4\r\nPING\r\n"});
  const auto found = FindRequests(*Redis(), first + "PING\r\n" + Command({"GET", "k"}));
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_EQ(found[0].size, first.size());
  EXPECT_EQ(found[1].size, 6u);
}

TEST(RedisRequestTest, StatefulAndBlockingCommandsAreDedicated) {
  for (const char* name :
       {"SUBSCRIBE", "PSUBSCRIBE",  "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE",
        "MONITOR",   "MULTI",       "EXEC",       "DISCARD",     "WATCH",        "UNWATCH",
        "BLPOP",     "BRPOP",       "BRPOPLPUSH", "BLMOVE",      "BLMPOP",       "BZPOPMIN",
        "BZPOPMAX",  "BZMPOP",      "WAIT",       "WAITAOF",     "AUTH",         "SELECT",
        "CLIENT",    "RESET",       "SYNC",       "PSYNC",       "REPLCONF",     "ASKING",
        "READONLY",  "READWRITE",   "SHUTDOWN",   "DEBUG",       "FAILOVER",     "MIGRATE",
        "POST",      "HOST:",       "SCAN",       "HSCAN",       "SSCAN",        "ZSCAN",
        "FT.CURSOR", "BF.SCANDUMP", "CF.SCANDUMP"}) {
    std::string small(name);
    for (char& letter : small) letter = static_cast<char>(std::tolower(letter));
    EXPECT_FALSE(IsShared(Command({name, "a"}))) << name;
    EXPECT_FALSE(IsShared(Command({small, "a"}))) << name;
    EXPECT_FALSE(IsShared(small + " a\r\n")) << name;
    EXPECT_FALSE(IsShared("\v\t " + small + "\n")) << name;
    EXPECT_TRUE(IsShared(Command({small + "X"}))) << name;
    EXPECT_TRUE(IsShared(Command({"GET", name}))) << name;
  }
}

TEST(RedisRequestTest, OrdinaryCommandsAreShared) {
  for (const char* name : {"GET", "set", "PING", "EVAL", "XADD", "PUBLISH", "RESTORE-ASKING", "A",
                           "ZZZZ", "LPOP", "ZPOPMIN", "INFO", ""}) {
    EXPECT_TRUE(IsShared(Command({name, "a"}))) << name;
  }
}

TEST(RedisRequestTest, AnOptionCanMakeACommandDedicated) {
  EXPECT_TRUE(IsShared(Command({"XREAD", "COUNT", "2", "STREAMS", "x", "0"})));
  EXPECT_FALSE(IsShared(Command({"xread", "count", "2", "block", "0", "streams", "x", "$"})));
  EXPECT_TRUE(IsShared(Command({"XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">"})));
  EXPECT_FALSE(IsShared("XREADGROUP GROUP STREAMS c Block 5 STREAMS x >\r\n"));
  EXPECT_TRUE(IsShared(Command({"SCRIPT", "LOAD", "return 1"})));
  EXPECT_FALSE(IsShared(Command({"SCRIPT", "DEBUG", "YES"})));
  EXPECT_TRUE(IsShared(Command({"GET", "BLOCK"})));
  for (const char* name : {"FT.AGGREGATE", "FT.HYBRID", "FT.PROFILE"}) {
    EXPECT_TRUE(IsShared(Command({name, "index", "*", "GROUPBY", "1", "@a"}))) << name;
    EXPECT_FALSE(IsShared(Command({name, "index", "*", "WithCursor", "COUNT", "9"}))) << name;
  }
  EXPECT_TRUE(IsShared(Command({"XREAD", "BLOCKS", "STREAMS", "BLOC", "0"})));
}

bool IsRepeatable(std::string_view bytes) { return OneRequest(bytes).request.repeatable; }

TEST(RedisRequestTest, CommandsThatReadOrWriteGivenValuesAreRepeatable) {
  for (const char* name : {"GET", "mget", "HGETALL", "ZREVRANGEBYSCORE", "EXISTS", "XRANGE", "PING",
                           "DEL", "HSET", "MSET", "ZADD", "EXPIRE", "EVALSHA_RO"}) {
    EXPECT_TRUE(IsRepeatable(Command({name, "a", "b"}))) << name;
    EXPECT_TRUE(IsRepeatable(std::string(name) + " a b\r\n")) << name;
  }
}

TEST(RedisRequestTest, CommandsThatAddDecideOrRunCodeAreNotRepeatable) {
  for (const char* name : {"INCR",    "DECRBY",   "HINCRBY",    "INCRBYFLOAT", "APPEND",
                           "LPUSH",   "RPUSHX",   "LPOP",       "SPOP",        "RPOPLPUSH",
                           "LMOVE",   "LREM",     "LTRIM",      "SETNX",       "HSETNX",
                           "MSETNX",  "GETSET",   "GETDEL",     "SETBIT",      "ZINCRBY",
                           "ZPOPMIN", "XADD",     "XREADGROUP", "XAUTOCLAIM",  "RENAME",
                           "COPY",    "SMOVE",    "SORT",       "BITFIELD",    "PUBLISH",
                           "EVAL",    "EVALSHA",  "FCALL",      "SCRIPT",      "FLUSHALL",
                           "CONFIG",  "JSON.SET", "",           "GETX",        "ZREVRANGEBYSCOREX",
                           "SADD",    "SREM",     "ZREM",       "DELIFEQ",     "MSETEX"}) {
    EXPECT_FALSE(IsRepeatable(Command({name, "a", "b"}))) << name;
  }
}

// Its reply says whether the client holds a lock, or what was there before.
TEST(RedisRequestTest, AnArgumentCanMakeACommandNotRepeatable) {
  EXPECT_TRUE(IsRepeatable(Command({"SET", "k", "v", "EX", "60"})));
  EXPECT_TRUE(IsRepeatable(Command({"SET", "k", ""})));
  EXPECT_TRUE(IsShared(Command({"SET", "k", ""})));
  EXPECT_FALSE(IsRepeatable(Command({"SET", "lock", "me", "nx", "PX", "1000"})));
  EXPECT_FALSE(IsRepeatable("SET lock me PX 1000 NX\r\n"));
  EXPECT_FALSE(IsRepeatable(Command({"set", "k", "v", "get"})));
  for (const char* option : {"IFEQ", "IFNE", "ifdeq", "ifdne"}) {
    EXPECT_FALSE(IsRepeatable(Command({"SET", "k", "v", option, "old"}))) << option;
  }
  EXPECT_TRUE(IsRepeatable(Command({"ZADD", "k", "XX", "GT", "1", "m"})));
  for (const char* option : {"NX", "ch", "INCR"}) {
    EXPECT_FALSE(IsRepeatable(Command({"ZADD", "k", option, "1", "m"}))) << option;
  }
  for (const char* name : {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}) {
    EXPECT_TRUE(IsRepeatable(Command({name, "k", "60", "XX"}))) << name;
    for (const char* option : {"NX", "gt", "LT"}) {
      EXPECT_FALSE(IsRepeatable(Command({name, "k", "60", option}))) << name << option;
    }
  }
  test::ExpectSameRequestsForEveryCut(
      *Redis(), Command({"SET", "k", "v", "NX"}) + Command({"SET", "k", "v"}) + "INCR a\r\n");
}

bool IsAnsweredOk(std::string_view bytes) {
  const Request request = OneRequest(bytes).request;
  EXPECT_EQ(request.local, request.answer == "+OK\r\n") << bytes;
  return request.local && !request.dedicated;
}

// As redis-py, Jedis and others send them on every connection. They change nothing that another
// command needs.
TEST(RedisRequestTest, IntroductionsOfLibrariesAreAnsweredByTheProxy) {
  for (const std::string& command :
       {Command({"CLIENT", "SETINFO", "LIB-NAME", "redis-py"}),
        Command({"client", "setinfo", "lib-ver", "8.0.0"}),
        std::string("client setinfo LIB-VER 5.0.1\r\n"), Command({"CLIENT", "SETNAME", "worker-1"}),
        Command({"CLIENT", "SETNAME", ""}), Command({"CLIENT", "SETNAME", std::string(1000, 'n')}),
        Command({"CLIENT", "TRACKING", "off"})}) {
    EXPECT_TRUE(IsAnsweredOk(command)) << command;
    EXPECT_FALSE(OneRequest(command).request.last) << command;
  }
}

// Redis refuses some of these; only it knows the words.
TEST(RedisRequestTest, OtherFormsOfIntroductionsReachTheServer) {
  for (const std::string& command :
       {Command({"CLIENT"}), Command({"CLIENT", "SETNAME"}),
        Command({"CLIENT", "SETNAME", "a", "b"}), Command({"CLIENT", "SETNAME", "a b"}),
        Command({"CLIENT", "SETNAME", "a\n"}),
        Command({"CLIENT", "SETNAME", std::string(100, 'n') + "\x7f"}),
        Command({"CLIENT", "SETINFO", "LIB-NAME"}), Command({"CLIENT", "SETINFO", "LIB-AGE", "1"}),
        Command({"CLIENT", "SETINFO", "LIB-NAME", "a b"}),
        Command({"CLIENT", "SETINFO", "LIB-NAME", "a", "b"}), Command({"CLIENT", "TRACKING", "ON"}),
        Command({"CLIENT", "TRACKING", "OFF", "BCAST"}), Command({"CLIENT", "TRACKING"}),
        Command({"CLIENT", "SETINFOS", "LIB-NAME", "a"}), Command({"CLIENT", "GETNAME"}),
        Command({"CLIENT", "REPLY", "OFF"}), Command({"MULTI", "SETINFO"}),
        Command({"CLIENT", "SETNAME", "SETINFO", "LIB-NAME", "x"})}) {
    EXPECT_FALSE(OneRequest(command).request.local) << command;
  }
  EXPECT_FALSE(IsShared(Command({"CLIENT", "SETNAME", "a b"})));
  EXPECT_FALSE(IsShared(Command({"CLIENT", "TRACKING", "ON"})));
  EXPECT_FALSE(IsShared(Command({"CLIENT", "REPLY", "OFF"})));
  EXPECT_FALSE(IsShared(Command({"CLIENT", "SETINFOS", "LIB-NAME", "a"})));
  EXPECT_TRUE(IsShared(Command({"CLIENT", "SETINFO", "LIB-AGE", "1"})));
  EXPECT_TRUE(IsShared(Command({"GET", "CLIENT"})));
  EXPECT_FALSE(IsShared("client setname \"a\"\r\n"));
}

TEST(RedisRequestTest, QuitIsAnsweredByTheProxyAndTheClientsLast) {
  for (const std::string& command :
       {Command({"QUIT"}), Command({"quit", "now"}), std::string("quit\r\n")}) {
    EXPECT_TRUE(IsAnsweredOk(command)) << command;
    EXPECT_TRUE(OneRequest(command).request.last) << command;
  }
  EXPECT_FALSE(OneRequest(Command({"QUITX"})).request.local);
  EXPECT_FALSE(OneRequest(Command({"GET", "QUIT"})).request.local);
}

TEST(RedisRequestTest, ACommandIsClassifiedByItselfAlone) {
  const auto found = FindRequests(*Redis(), Command({"MULTI"}) + Command({"GET", "BLOCK"}) +
                                                Command({"XREAD", "BLOCK"}) + Command({"XREAD"}) +
                                                "PING 'a'\r\nPING\r\n");
  ASSERT_THAT(found, SizeIs(6));
  EXPECT_TRUE(found[0].request.dedicated);
  EXPECT_FALSE(found[1].request.dedicated);
  EXPECT_TRUE(found[2].request.dedicated);
  EXPECT_FALSE(found[3].request.dedicated);
  EXPECT_TRUE(found[4].request.dedicated);
  EXPECT_FALSE(found[5].request.dedicated);
}

// redis-server reads `"multi"` as MULTI, and closes the connection after `PING "a`.
TEST(RedisRequestTest, QuotesInAnInlineCommandAreNotShared) {
  EXPECT_FALSE(IsShared("\"multi\"\r\n"));
  EXPECT_FALSE(IsShared("mul'ti'\r\n"));
  EXPECT_FALSE(IsShared("PING \"a\r\n"));
  EXPECT_TRUE(IsShared("PI\\NG x\r\n"));
}

// redis-server answers none of these, so a shared connection would wait forever.
TEST(RedisRequestTest, EmptyCommandsBelongToTheNextOne) {
  for (const char* empty : {"\r\n", "\n", " \t\v\f\r\n", "*0\r\n", "*-1\r\n", "*-5\r\n"}) {
    EXPECT_EQ(RequestState(empty), ParseState::kMore) << empty;
    const FoundRequest request = OneRequest(std::string(empty) + empty + "PING\r\n");
    EXPECT_EQ(request.state, ParseState::kEnd) << empty;
    EXPECT_EQ(request.size, 2 * std::string_view(empty).size() + 6) << empty;
  }
}

TEST(RedisRequestTest, MalformedHeadersAreBroken) {
  for (const char* bytes : {"*\r\n",
                            "*a\r\n",
                            "*1a\r\n",
                            "*01\r\n",
                            "*+1\r\n",
                            "*-\r\n",
                            "*-0\r\n",
                            "*--1\r\n",
                            "*1\n",
                            "*1\rx",
                            "* 1\r\n",
                            "*1\r\nPING\r\n",
                            "*1\r\n*1\r\n",
                            "*1\r\n:1\r\n",
                            "*1\r\n$\r\n",
                            "*1\r\n$-1\r\n",
                            "*1\r\n$04\r\n",
                            "*1\r\n$4\n",
                            "*1\r\n$4\r\nPINGx",
                            "*1\r\n$4\r\nPING\rx",
                            "*1\r\n$4\r\nPING\n",
                            "*1111111111111111111"}) {
    EXPECT_EQ(RequestState(bytes), ParseState::kBroken) << bytes;
  }
}

TEST(RedisRequestTest, ANulInAnInlineCommandIsBroken) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(RequestState("\0foo\r\n"sv), ParseState::kBroken);
  EXPECT_EQ(RequestState("PING a\0b\r\n"sv), ParseState::kBroken);
  EXPECT_TRUE(IsShared("*2\r\n$3\r\nGET\r\n$1\r\n\0\r\n"sv));
}

// redis-server 7.0.15 takes 2^31 - 1 strings of 2^29 bytes and ends the connection above.
TEST(RedisRequestTest, LengthsAboveThoseOfRedisAreBroken) {
  EXPECT_EQ(RequestState("*2147483647\r\n"), ParseState::kMore);
  EXPECT_EQ(RequestState("*2147483648\r\n"), ParseState::kBroken);
  EXPECT_EQ(RequestState("*1\r\n$536870912\r\n"), ParseState::kMore);
  EXPECT_EQ(RequestState("*1\r\n$536870913\r\n"), ParseState::kBroken);
}

TEST(RedisRequestTest, ARequestAtTheLimitIsBufferedAndOneAboveIsStreamed) {
  const std::string command = Command({"SET", "key", "value"});
  const FoundRequest held = OneRequest(command, *Redis(command.size()));
  EXPECT_EQ(held.streamed_at, FoundRequest::kNever);
  EXPECT_FALSE(held.request.dedicated);

  const FoundRequest streamed = OneRequest(command, *Redis(command.size() - 1));
  EXPECT_EQ(streamed.streamed_at, command.size() - std::string_view("value\r\n").size());
  EXPECT_TRUE(streamed.at_stream.dedicated);
  EXPECT_TRUE(streamed.request.dedicated);
  EXPECT_EQ(streamed.state, ParseState::kEnd);
  EXPECT_EQ(streamed.size, command.size());
}

TEST(RedisRequestTest, TheLengthThatAnArrayAnnouncesCountsAtOnce) {
  EXPECT_EQ(OneRequest("*100000\r\n").streamed_at, 9u);
  // Three empty strings of 6 bytes behind a header of 4.
  EXPECT_EQ(OneRequest("*3\r\n", *Redis(22)).streamed_at, FoundRequest::kNever);
  EXPECT_EQ(OneRequest("*3\r\n", *Redis(21)).streamed_at, 4u);
  // The second string is not there yet, but cannot be shorter than 6.
  EXPECT_EQ(OneRequest("*2\r\n$4\r\n", *Redis(20)).streamed_at, FoundRequest::kNever);
  EXPECT_EQ(OneRequest("*2\r\n$4\r\n", *Redis(19)).streamed_at, 8u);
}

TEST(RedisRequestTest, AnInlineCommandAtTheLimitIsBufferedAndOneAboveIsStreamed) {
  const std::string line = "PING 3456\n";
  EXPECT_EQ(OneRequest(line, *Redis(10)).streamed_at, FoundRequest::kNever);
  const FoundRequest streamed = OneRequest(line, *Redis(9));
  EXPECT_EQ(streamed.streamed_at, 9u);
  EXPECT_EQ(streamed.size, 10u);
  EXPECT_TRUE(streamed.at_stream.dedicated);
}

TEST(RedisRequestTest, EmptyCommandsCountTowardTheLimit) {
  EXPECT_EQ(OneRequest("\r\n\r\nPING\r\n", *Redis(10)).streamed_at, FoundRequest::kNever);
  EXPECT_EQ(OneRequest("\r\n\r\nPING\r\n", *Redis(9)).streamed_at, 9u);
  EXPECT_EQ(OneRequest("*0\r\n*0\r\n*0\r\n", *Redis(9)).streamed_at, 8u);
}

// redis-server closes the connection after 65,536 bytes without a line feed.
TEST(RedisRequestTest, AnInlineCommandAboveTheLimitOfRedisIsStreamed) {
  const std::string line = "PING " + std::string(65'530, 'x');
  EXPECT_EQ(OneRequest(line + "\n", *Redis(1 << 20)).streamed_at, FoundRequest::kNever);
  EXPECT_EQ(OneRequest(line + "y\n", *Redis(1 << 20)).streamed_at, 65'536u);
}

// --- replies

TEST(RedisReplyTest, RecordedRepliesAreSeparated) {
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp2) {
    const FoundReply reply = OneReply(exchange.reply);
    EXPECT_EQ(reply.state, ParseState::kEnd) << exchange.reply;
    EXPECT_FALSE(reply.reply.unasked) << exchange.reply;
    EXPECT_FALSE(reply.reply.last) << exchange.reply;
  }
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp3) {
    if (exchange.reply.starts_with('>')) continue;
    EXPECT_EQ(OneReply(exchange.reply).state, ParseState::kEnd) << exchange.reply;
  }
}

TEST(RedisReplyTest, SplitsDoNotMoveBoundaries) {
  std::string all;
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp2) all += exchange.reply;
  test::ExpectSameRepliesForEveryCut(*Redis(), all);
  all.clear();
  for (const test::RedisExchange& exchange : test::kRedisExchangesResp3) all += exchange.reply;
  all +=
      "$?\r\n;4\r\nHell\r\n;0\r\n*?\r\n:1\r\n%?\r\n+a\r\n:1\r\n.\r\n.\r\n!3\r\nERR\r\n$4\r\nbrokn";
  test::ExpectSameRepliesForEveryCut(*Redis(), all);
}

TEST(RedisReplyTest, APushIsUnsolicited) {
  const auto found =
      FindReplies(*Redis(), ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n+OK\r\n>0\r\n:1\r\n");
  ASSERT_THAT(found, SizeIs(4));
  EXPECT_TRUE(found[0].reply.unasked);
  EXPECT_FALSE(found[1].reply.unasked);
  EXPECT_TRUE(found[2].reply.unasked);
  EXPECT_FALSE(found[3].reply.unasked);
}

// The example of the RESP3 specification, and one at each place where an attribute can stand.
TEST(RedisReplyTest, AnAttributeBelongsToTheReplyBehindIt) {
  const std::string popularity =
      "|1\r\n+key-popularity\r\n%2\r\n$1\r\na\r\n,0.1923\r\n$1\r\nb\r\n,0.0012\r\n";
  EXPECT_EQ(ReplyState(popularity), ParseState::kMore);
  EXPECT_EQ(ReplyState(popularity + "*2\r\n:2039123\r\n:9543892\r\n"), ParseState::kEnd);
  for (const char* reply :
       {"*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n", "*1\r\n|0\r\n:1\r\n",
        "|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n+d\r\n+e\r\n", "|1\r\n+a\r\n*0\r\n|0\r\n+e\r\n"}) {
    EXPECT_EQ(ReplyState(reply), ParseState::kEnd) << reply;
  }
  EXPECT_EQ(ReplyState("|1\r\n+a\r\n+b\r\n"), ParseState::kMore);
  EXPECT_EQ(ReplyState("|0\r\n"), ParseState::kMore);
}

// The first two are examples of the RESP3 specification.
TEST(RedisReplyTest, StreamedTypesEndAtTheirMarks) {
  for (const char* reply :
       {"$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;1\r\nd\r\n;0\r\n",
        "%?\r\n+a\r\n:1\r\n+b\r\n:2\r\n.\r\n", "*?\r\n.\r\n", "~?\r\n*?\r\n:1\r\n.\r\n:2\r\n.\r\n",
        "*2\r\n$?\r\n;0\r\n*?\r\n$?\r\n;1\r\n.\r\n;0\r\n.\r\n", "%1\r\n+a\r\n%?\r\n.\r\n"}) {
    EXPECT_EQ(ReplyState(reply), ParseState::kEnd) << reply;
  }
}

TEST(RedisReplyTest, MalformedRepliesAreBroken) {
  for (const char* reply : {"x",
                            "\r\n",
                            "PONG\r\n",
                            "+a\nb\r\n",
                            "+a\rb\r\n",
                            "+a\n",
                            "$-2\r\n",
                            "$1\n",
                            "$+1\r\n",
                            "$01\r\n",
                            "$\r\n",
                            "$1\r\nab",
                            "$1\r\na\rb",
                            "*-2\r\n",
                            "*a\r\n",
                            "~-1\r\n",
                            "%-1\r\n",
                            ">-1\r\n",
                            "|-1\r\n",
                            "!-1\r\n",
                            "=-1\r\n",
                            "!?\r\n",
                            "=?\r\n",
                            ">?\r\n",
                            "|?\r\n",
                            "$1?",
                            "*-?",
                            "$?x",
                            "$?\r\n+a\r\n",
                            "$?\r\n;-1\r\n",
                            "$?\r\n;?",
                            "$?\r\n.\r\n",
                            ";1\r\na\r\n",
                            ".\r\n",
                            "*1\r\n.\r\n",
                            "*1\r\n;0\r\n",
                            "%?\r\n+a\r\n.\r\n",
                            "*?\r\n.x",
                            "*1\r\n>1\r\n+a\r\n",
                            "*1111111111111111111"}) {
    EXPECT_EQ(ReplyState(reply), ParseState::kBroken) << reply;
  }
}

TEST(RedisReplyTest, DepthIsBounded) {
  const auto nested = [](size_t depth, const std::string& header) {
    std::string reply;
    for (size_t i = 0; i < depth; ++i) reply += header;
    return reply + ":1\r\n";
  };
  EXPECT_EQ(ReplyState(nested(kMaxRedisReplyDepth, "*1\r\n")), ParseState::kEnd);
  EXPECT_EQ(ReplyState(nested(kMaxRedisReplyDepth + 1, "*1\r\n")), ParseState::kBroken);
  EXPECT_EQ(ReplyState(nested(kMaxRedisReplyDepth, "*?\r\n")), ParseState::kMore);
  EXPECT_EQ(ReplyState(nested(kMaxRedisReplyDepth + 1, "|1\r\n")), ParseState::kBroken);
  // The last of each level closes it, so width costs no depth.
  EXPECT_EQ(ReplyState("*1000\r\n" + nested(1, "*2\r\n:1\r\n")), ParseState::kMore);
}

TEST(RedisReplyTest, HugeCountIsAnIncompleteReply) {
  EXPECT_EQ(ReplyState("*999999999999999999\r\n%999999999999999999\r\n$999999999999999999\r\na"),
            ParseState::kMore);
}

TEST(RedisReplyTest, PayloadIsNotParsed) {
  const std::string payload(200'000, '\r');
  const std::string reply = "$200000\r\n" + payload + "\r\n";
  EXPECT_EQ(OneReply(reply).size, reply.size());
}

// --- both

TEST(RedisCodecTest, OrderIsKeptAndRepliesMayBeOutstanding) {
  EXPECT_EQ(Redis()->name(), "redis");
  EXPECT_FALSE(Redis()->id_field().has_value());
  EXPECT_FALSE(Redis()->one_at_a_time());
}

TEST(RedisCodecTest, LocalRepliesAreErrorReplies) {
  for (const Refusal why : {Refusal::kBroken, Refusal::kUnavailable, Refusal::kLost}) {
    const std::string_view local_reply = Redis()->LocalReply(why);
    EXPECT_TRUE(local_reply.starts_with("-ERR ")) << local_reply;
    EXPECT_EQ(OneReply(local_reply).state, ParseState::kEnd) << local_reply;
  }
}

}  // namespace
}  // namespace trunkline
