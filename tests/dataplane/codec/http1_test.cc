// The HTTP/1 codec against exchanges with a real nginx (http1_exchanges.h), and against RFC 9110
// and 9112 for messages that nginx does not send.
#include "dataplane/codec/http1.h"

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
#include "dataplane/codec/http1_chunked.h"
#include "dataplane/codec/http1_reply.h"
#include "dataplane/codec/http1_request.h"
#include "tests/dataplane/codec/feed.h"
#include "tests/dataplane/codec/found.h"
#include "tests/dataplane/codec/http1_exchanges.h"

namespace trunkline {
namespace {

using test::FindReplies;
using test::FindRequests;
using test::FoundReply;
using test::FoundRequest;
using ::testing::SizeIs;

std::unique_ptr<Codec> Http1(size_t max_request_bytes = Http1Options().max_request_bytes) {
  return NewHttp1Codec({.max_request_bytes = max_request_bytes});
}

FoundRequest OneRequest(std::string_view bytes, const Codec& codec = *Http1()) {
  const std::vector<FoundRequest> found = FindRequests(codec, bytes);
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundRequest() : found[0];
}

FoundReply OneReply(std::string_view bytes, uint32_t hint = kHttp1ReplyToOther) {
  const std::vector<FoundReply> found = FindReplies(*Http1(), bytes, {hint});
  EXPECT_THAT(found, SizeIs(1)) << bytes;
  return found.empty() ? FoundReply() : found[0];
}

// A request whose head has these fields beside Host.
std::string Get(std::string_view fields) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}
std::string Post(std::string_view fields, std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n" + std::string(body);
}
std::string Chunked(std::string_view body) { return Post("Transfer-Encoding: chunked\r\n", body); }
std::string Ok(std::string_view fields, std::string_view body = "") {
  return "HTTP/1.1 200 OK\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

void ExpectWholeRequest(const std::string& bytes) {
  const FoundRequest request = OneRequest(bytes);
  EXPECT_EQ(request.state, ParseState::kEnd) << bytes;
  EXPECT_EQ(request.size, bytes.size()) << bytes;
}
void ExpectBrokenRequest(std::string_view bytes) {
  EXPECT_EQ(OneRequest(bytes).state, ParseState::kBroken) << bytes;
}
void ExpectWholeReply(const std::string& bytes, uint32_t hint = kHttp1ReplyToOther) {
  const FoundReply reply = OneReply(bytes, hint);
  EXPECT_EQ(reply.state, ParseState::kEnd) << bytes;
  EXPECT_EQ(reply.size, bytes.size()) << bytes;
}
void ExpectBrokenReply(std::string_view bytes) {
  EXPECT_EQ(OneReply(bytes).state, ParseState::kBroken) << bytes;
}

std::string Blanked(std::string bytes, const Request& request) {
  return bytes.replace(request.blank_offset, request.blank_size, request.blank_size, ' ');
}

// The reply as a client gets it that asked for its connection to be closed.
std::string Farewell(const test::Pieces& pieces) {
  return test::EditedReply(*Http1(), pieces, kHttp1ReplyThenClose);
}

bool IsRefusedByNginx(const test::Http1Exchange& exchange) {
  return exchange.reply.starts_with("HTTP/1.1 400");
}

// --- recorded exchanges

TEST(Http1ExchangeTest, RecordedRequestsAreSeparated) {
  for (const test::Http1Exchange& exchange : test::kHttp1Exchanges) {
    const FoundRequest request = OneRequest(exchange.request);
    const bool refused = IsRefusedByNginx(exchange);
    EXPECT_EQ(request.state, refused ? ParseState::kBroken : ParseState::kEnd) << exchange.request;
    if (refused) continue;
    EXPECT_EQ(request.size, exchange.request.size()) << exchange.request;
    EXPECT_EQ(request.request.last, exchange.closed) << exchange.request;
    EXPECT_FALSE(request.request.dedicated) << exchange.request;
  }
}

TEST(Http1ExchangeTest, RecordedRepliesAreSeparated) {
  for (const test::Http1Exchange& exchange : test::kHttp1Exchanges) {
    const uint32_t hint =
        exchange.request.starts_with("HEAD") ? kHttp1ReplyToHead : kHttp1ReplyToOther;
    const FoundReply reply = OneReply(exchange.reply, hint);
    EXPECT_EQ(reply.size, exchange.reply.size()) << exchange.reply;
    if (reply.ends_at_close) {
      EXPECT_TRUE(exchange.closed) << exchange.reply;
      continue;
    }
    EXPECT_EQ(reply.state, ParseState::kEnd) << exchange.reply;
    EXPECT_EQ(reply.reply.last, exchange.closed) << exchange.reply;
  }
}

TEST(Http1ExchangeTest, SplitsDoNotMoveBoundaries) {
  std::string requests;
  std::string replies;
  std::vector<uint32_t> hints;
  for (const test::Http1Exchange& exchange : test::kHttp1Exchanges) {
    const bool until_close =
        exchange.closed && exchange.reply.find("Content-Length") == std::string_view::npos;
    if (IsRefusedByNginx(exchange) || until_close) continue;
    requests += exchange.request;
    replies += exchange.reply;
    hints.push_back(OneRequest(exchange.request).request.reply_hint);
  }
  ASSERT_THAT(FindRequests(*Http1(), requests), SizeIs(hints.size()));
  ASSERT_THAT(FindReplies(*Http1(), replies, hints), SizeIs(hints.size()));
  test::ExpectSameRequestsForEveryCut(*Http1(), requests);
  test::ExpectSameRequestsForEveryCut(*Http1(/*max_request_bytes=*/90), requests);
  test::ExpectSameRepliesForEveryCut(*Http1(), replies, hints);
}

TEST(Http1ExchangeTest, SplitsDoNotMoveErrors) {
  for (const std::string& bytes :
       {Get("Content-Length: 5\r\nContent-Length: 6\r\n"), Get("X: a\nb\r\n"), Get("X : a\r\n"),
        Chunked("5\r\nhello\r\n0\r\nHost: b\r\n\r\n"), Chunked("5\r\nhello!"),
        Post("Connection: close, keep-alive\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", "a"),
        Get("Connection:\t close\t,TE \r\nUpgrade: x\r\n"), Get("Transfer-Encoding: chunked,\r\n"),
        std::string("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), std::string("\r\n\r\n")}) {
    test::ExpectSameRequestsForEveryCut(*Http1(), bytes);
    test::ExpectSameRequestsForEveryCut(*Http1(/*max_request_bytes=*/60), bytes);
  }
  for (const std::string& bytes :
       {Ok("", "until the end"), Ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" +
            Ok("Transfer-Encoding: chunked\r\n", "a;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n")}) {
    test::ExpectSameRepliesForEveryCut(*Http1(), bytes);
  }
}

// --- the request line

TEST(Http1RequestLineTest, FormsOfTargetsArePassed) {
  for (const char* line : {"GET / HTTP/1.1", "GET http://a/b?c HTTP/1.1", "OPTIONS * HTTP/1.1",
                           "M-SEARCH /\xc3\xa4 HTTP/1.1", "GET /%00 HTTP/1.0"}) {
    ExpectWholeRequest(std::string(line) + "\r\nHost: a\r\n\r\n");
  }
}

TEST(Http1RequestLineTest, AnythingElseIsBroken) {
  for (const char* line :
       {" GET / HTTP/1.1", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", "GET /",
        "GET / a HTTP/1.1", "GET\t/ HTTP/1.1", "GET /\t HTTP/1.1", "G(T / HTTP/1.1", "/ HTTP/1.1",
        "GET /\x7f HTTP/1.1", "GET /\x01 HTTP/1.1", "GET HTTP/1.1", "GET / http/1.1",
        "GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/11", "GET / HTTP/1.10"}) {
    ExpectBrokenRequest(std::string(line) + "\r\nHost: a\r\n\r\n");
  }
  ExpectBrokenRequest("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  using std::string_view_literals::operator""sv;
  ExpectBrokenRequest("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"sv);
}

TEST(Http1RequestLineTest, OneEmptyLineMayStandBeforeIt) {
  ExpectWholeRequest("\r\n" + Get(""));
  ExpectBrokenRequest("\r\n\r\n" + Get(""));
  ExpectBrokenRequest("\n" + Get(""));
  ExpectBrokenRequest("\r" + Get(""));
}

// --- fields

TEST(Http1FieldsTest, BareLineFeedsAreBroken) {
  ExpectBrokenRequest("GET / HTTP/1.1\nHost: a\r\n\r\n");
  ExpectBrokenRequest("GET / HTTP/1.1\r\nHost: a\n\r\n");
  ExpectBrokenRequest("GET / HTTP/1.1\r\nHost: a\r\n\n");
}

TEST(Http1FieldsTest, BareCarriageReturnsAreBroken) {
  ExpectBrokenRequest("GET / HTTP/1.1\rHost: a\r\n\r\n");
  ExpectBrokenRequest(Get("X: a\rb\r\n"));
  ExpectBrokenRequest(Get("X: a\r\r\n"));
  ExpectBrokenRequest(Get("\rX: a\r\n"));
}

TEST(Http1FieldsTest, FoldedLinesAreBroken) {
  ExpectBrokenRequest(Get("X: a\r\n b\r\n"));
  ExpectBrokenRequest(Get("X: a\r\n\tb\r\n"));
  ExpectBrokenRequest("GET / HTTP/1.1\r\n Host: a\r\n\r\n");
}

TEST(Http1FieldsTest, SpaceBeforeTheColonIsBroken) {
  ExpectBrokenRequest(Get("Content-Length : 5\r\n"));
  ExpectBrokenRequest(Get("X\t: a\r\n"));
}

TEST(Http1FieldsTest, NamesThatAreNoTokensAreBroken) {
  for (const char* field : {": a", "X", "X a: b", "X(a): b", "X\x80: b", "X\x7f: b", "\"X\": b"}) {
    ExpectBrokenRequest(Get(std::string(field) + "\r\n"));
  }
}

TEST(Http1FieldsTest, ControlCharactersInValuesAreBroken) {
  for (const char c : {'\0', '\x01', '\x08', '\x0b', '\x0c', '\x1f', '\x7f'}) {
    // At each position of the eight bytes that are checked together.
    for (size_t place = 0; place < 20; ++place) {
      std::string value(20, 'v');
      value[place] = c;
      ExpectBrokenRequest(Get("X: " + value + "\r\n"));
    }
  }
}

TEST(Http1FieldsTest, OtherValuesPass) {
  for (const char* value : {"", " ", "a\tb", "\x80\xff", "!~", "a:b", ":", "0123456\t0123456"}) {
    ExpectWholeRequest(Get("X:" + std::string(value) + "\r\n"));
  }
  ExpectWholeRequest(Get("!#$%&'*+-.^_`|~09azAZ: a\r\n"));
}

TEST(Http1FieldsTest, AMissingOrRepeatedHostIsBroken) {
  ExpectBrokenRequest("GET / HTTP/1.1\r\n\r\n");
  ExpectBrokenRequest("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n");
  ExpectBrokenRequest("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
  ExpectWholeRequest("GET / HTTP/1.0\r\n\r\n");
  ExpectWholeRequest("GET / HTTP/1.1\r\nHOST:\r\nXHost: a\r\nHos: b\r\n\r\n");
}

// --- where a request ends

TEST(Http1FramingTest, ABodyHasTheLengthOfItsField) {
  const std::string post = Post("content-LENGTH: \t5\t \r\n", "hello");
  const auto found = FindRequests(*Http1(), post + Get(""));
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].size, post.size());
  EXPECT_EQ(found[1].state, ParseState::kEnd);
  ExpectWholeRequest(Post("Content-Length: 0\r\n", ""));
  ExpectWholeRequest(Post("Content-Length: 0003\r\n", "abc"));
}

// RFC 9110, 8.6: reject them or forward one. The next server may read the other one.
TEST(Http1FramingTest, RepeatedLengthsAreBrokenEvenIfEqual) {
  for (const char* fields :
       {"Content-Length: 3\r\nContent-Length: 3\r\n", "Content-Length: 3\r\ncontent-length: 03\r\n",
        "Content-Length: 3\r\nX: y\r\nCONTENT-LENGTH: 3\r\n", "Content-Length: 3, 3\r\n",
        "Content-Length: 3,3\r\n", "Content-Length: 3 ,\t3\r\n", "Content-Length: 3,\r\n",
        "Content-Length: ,3\r\n"}) {
    ExpectBrokenRequest(Post(fields, "abc"));
    ExpectBrokenReply(Ok(fields, "abc"));
  }
}

TEST(Http1FramingTest, DifferingLengthsAreBroken) {
  ExpectBrokenRequest(Post("Content-Length: 3\r\nContent-Length: 4\r\n", ""));
  ExpectBrokenRequest(Post("Content-Length: 0\r\nContent-Length: 4\r\n", ""));
  ExpectBrokenRequest(Post("Content-Length: 3, 4\r\n", ""));
}

TEST(Http1FramingTest, LengthsThatAreNoNumbersAreBroken) {
  for (const char* value : {"", " ", "+5", "-5", "0x5", "5 5", "5,5", "5,", "5a", "5.0", "five",
                            "9223372036854775808", "18446744073709551621", "\"5\""}) {
    ExpectBrokenRequest(Post("Content-Length: " + std::string(value) + "\r\n", ""));
  }
  EXPECT_EQ(OneRequest(Post("Content-Length: 9223372036854775807\r\n", "a")).state,
            ParseState::kMore);
}

TEST(Http1FramingTest, LengthAndCodingTogetherAreBroken) {
  const std::string smuggled = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
  ExpectBrokenRequest(Post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", smuggled));
  ExpectBrokenRequest(Post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", smuggled));
  ExpectBrokenRequest(Post("Content-Length: 0\r\nTransfer-Encoding: gzip, chunked\r\n", smuggled));
  ExpectBrokenRequest(Get("Transfer-Encoding: identity\r\nContent-Length: 6\r\n"));
}

TEST(Http1FramingTest, CodingsOtherThanChunkedLastAreBroken) {
  for (const char* value :
       {"", " ", "gzip", "identity", "chunked, gzip", "chunked, chunked", "xchunked", "chunkedx",
        "chunked,", ",chunked", "chunked;a=b", "chunked\x80", "\"chunked\"", "chunked gzip",
        "chun ked", "gzip chunked", "chunked\t, identity", "[chunked]"}) {
    ExpectBrokenRequest(Post("Transfer-Encoding: " + std::string(value) + "\r\n", "0\r\n\r\n"));
  }
  ExpectBrokenRequest(
      Post("Transfer-Encoding:\x0b"
           "chunked\r\n",
           "0\r\n\r\n"));
  ExpectBrokenRequest(
      Post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"));
  ExpectBrokenRequest(
      Post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"));
  ExpectBrokenRequest("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

TEST(Http1FramingTest, ChunkedLastIsChunked) {
  for (const char* value :
       {"chunked", "Chunked", "\tchunked ", "gzip, chunked", "gzip,chunked", "chunked\r\nX: y"}) {
    ExpectWholeRequest(Post("Transfer-Encoding: " + std::string(value) + "\r\n", "0\r\n\r\n"));
  }
  ExpectWholeRequest(
      Post("Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"));
}

TEST(Http1FramingTest, ABareRequestHasNoBody) {
  const auto found = FindRequests(*Http1(), Post("", "") + Get(""));
  EXPECT_THAT(found, SizeIs(2));
}

// --- chunks

TEST(Http1ChunkedTest, ChunksEndAtTheLastOne) {
  for (const char* body :
       {"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
        "5;a\r\nhello\r\n0;b=\"c d\"\r\n\r\n", "5 \t;a=b;c\r\nhello\r\n0\r\nX: y\r\nZ: \r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n"}) {
    ExpectWholeRequest(Chunked(body));
  }
}

// Some servers pad sizes to a fixed width; RFC 9112, 7.1.1 allows white space around extensions.
TEST(Http1ChunkedTest, WhiteSpaceBehindASizeIsPassed) {
  for (const char* body :
       {"2  \r\nab\r\n0\r\n\r\n", "2\t\r\nab\r\n0 \r\n\r\n", "2 \t \r\nab\r\n0 ;a\r\n\r\n",
        "2 ; a = b \r\nab\r\n0\t;\ta\r\n\r\n", "2;a=\"b\\\"c\" ;d\r\nab\r\n00   \r\n\r\n"}) {
    ExpectWholeRequest(Chunked(body));
    ExpectWholeReply(Ok("Transfer-Encoding: chunked\r\n", body));
    test::ExpectSameRequestsForEveryCut(*Http1(), Chunked(body));
  }
}

TEST(Http1ChunkedTest, WhiteSpaceElsewhereOnASizeLineIsBroken) {
  for (const char* body : {" 2\r\nab\r\n", "\t2\r\nab\r\n", "2 2\r\nab\r\n", "2 a\r\nab\r\n",
                           "2 \n", "2 \rab", "2\v\r\n", "2\f\r\n", "2 \r \n", " \r\n", " ;a\r\n",
                           "2 \xa0\r\n", "2 0x\r\n", "2 ;a\r\rab"}) {
    ExpectBrokenRequest(Chunked(body));
    ExpectBrokenReply(Ok("Transfer-Encoding: chunked\r\n", body));
  }
}

TEST(Http1ChunkedTest, MalformedChunksAreBroken) {
  for (const char* body :
       {"\r\n",    "x\r\n",      "-1\r\n",      "+1\r\n",      "0x1\r\n",   " 1\r\n",
        "1 a\r\n", "1\n",        "1\rx",        "g\r\n",       ";a\r\n",    "1;a\nb",
        "1;a\rb",  "1;\x01\r\n", "1\r\nab",     "1\r\na\n",    "1\r\na\rb", "5\r\nhello0\r\n\r\n",
        "0\r\n\n", "0\r\n\rx",   "0\r\n x\r\n", "0\r\nX y\r\n"}) {
    ExpectBrokenRequest(Chunked(body));
  }
}

TEST(Http1ChunkedTest, SizesThatOverflowAreBroken) {
  ExpectBrokenRequest(Chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"));
  ExpectBrokenRequest(Chunked("fffffffffffffff0\r\n"));
  ExpectBrokenRequest(Chunked("0000000000000005\r\n"));
  EXPECT_EQ(OneRequest(Chunked("fffffffffffffff\r\n")).state, ParseState::kMore);
}

TEST(Http1ChunkedTest, TrailersThatReframeAreBroken) {
  ExpectBrokenRequest(Chunked("0\r\nContent-Length: 5\r\n\r\n"));
  ExpectBrokenRequest(Chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ExpectBrokenRequest(Chunked("0\r\nHost: b\r\n\r\n"));
}

TEST(Http1ChunkedTest, ExtensionsAndTrailersAreBounded) {
  const auto with_line = [](size_t size) {
    return Chunked("1;" + std::string(size - 4, 'x') + "\r\na\r\n0\r\n\r\n");
  };
  ExpectWholeRequest(with_line(kMaxHttp1ChunkLineBytes));
  ExpectBrokenRequest(with_line(kMaxHttp1ChunkLineBytes + 1));
  const auto with_trailers = [](size_t size) {
    return Chunked("0\r\nX:" + std::string(size - 6, 'x') + "\r\n\r\n");
  };
  ExpectWholeRequest(with_trailers(kMaxHttp1TrailerBytes));
  ExpectBrokenRequest(with_trailers(kMaxHttp1TrailerBytes + 1));
}

// --- limits and streaming

TEST(Http1LimitTest, AHeadAboveItsBoundIsBroken) {
  const auto with_head = [](size_t size) {
    return Get("X:" + std::string(size - 31, 'x') + "\r\n");
  };
  ASSERT_EQ(with_head(100).size(), 100u);
  ExpectWholeRequest(with_head(kMaxHttp1RequestHeadBytes));
  ExpectBrokenRequest(with_head(kMaxHttp1RequestHeadBytes + 1));
  ExpectBrokenRequest("GET /" + std::string(kMaxHttp1RequestHeadBytes - 5, 'x'));
}

TEST(Http1LimitTest, ARequestAtTheLimitIsBufferedAndOneAboveIsStreamed) {
  const std::string post = Post("Content-Length: 5\r\n", "hello");
  EXPECT_EQ(OneRequest(post, *Http1(post.size())).streamed_at, FoundRequest::kNever);
  const FoundRequest streamed = OneRequest(post, *Http1(post.size() - 1));
  EXPECT_EQ(streamed.streamed_at, post.size() - 5);
  EXPECT_EQ(streamed.size, post.size());
  EXPECT_EQ(streamed.state, ParseState::kEnd);
  EXPECT_FALSE(streamed.request.dedicated);
  // Only the body is streamed; a head is buffered whatever the limit.
  EXPECT_EQ(OneRequest(Get(""), *Http1(1)).streamed_at, FoundRequest::kNever);
}

TEST(Http1LimitTest, AChunkedRequestIsStreamedOnceItIsKnownToBeAboveTheLimit) {
  const std::string first = Chunked("3\r\nabc\r\n");
  const std::string second = "5;x\r\n";
  const std::string all = first + second + "hello\r\n0\r\n\r\n";
  EXPECT_EQ(OneRequest(all, *Http1(all.size())).streamed_at, FoundRequest::kNever);
  const FoundRequest streamed = OneRequest(all, *Http1(all.size() - 1));
  EXPECT_EQ(streamed.streamed_at, first.size() + second.size());
  EXPECT_EQ(streamed.size, all.size());
  EXPECT_FALSE(streamed.request.dedicated);
  // No chunked body is smaller than 5 bytes.
  const std::string head = Chunked("");
  EXPECT_EQ(OneRequest(Chunked("0\r\n\r\n"), *Http1(head.size() + 5)).streamed_at,
            FoundRequest::kNever);
  EXPECT_EQ(OneRequest(Chunked("0\r\n\r\n"), *Http1(head.size() + 4)).streamed_at, head.size());
}

TEST(Http1LimitTest, TrailersCountTowardTheLimit) {
  const std::string all = Chunked("0\r\nX: y\r\n\r\n");
  EXPECT_EQ(OneRequest(all, *Http1(all.size())).streamed_at, FoundRequest::kNever);
  const FoundRequest streamed = OneRequest(all, *Http1(all.size() - 1));
  EXPECT_EQ(streamed.streamed_at, all.size() - 1);
  EXPECT_EQ(streamed.size, all.size());
}

TEST(Http1LimitTest, ABodyThatWaitsForA100IsStreamed) {
  for (const char* value : {"100-continue", "100-Continue", " a=b , 100-continue\t"}) {
    const std::string head =
        Post("Expect: " + std::string(value) + "\r\nContent-Length: 5\r\n", "");
    EXPECT_EQ(OneRequest(head + "hello").streamed_at, head.size()) << value;
  }
  const std::string head = Post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "");
  const FoundRequest chunked = OneRequest(head + "5\r\nhello\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.streamed_at, head.size());
  EXPECT_FALSE(chunked.at_stream.dedicated);
  EXPECT_EQ(chunked.state, ParseState::kEnd);
}

TEST(Http1LimitTest, ExpectIsIgnoredWithoutABodyOrInHttp10) {
  EXPECT_EQ(OneRequest(Get("Expect: 100-continue\r\n")).streamed_at, FoundRequest::kNever);
  EXPECT_EQ(OneRequest(Post("Expect: 100-continues\r\nContent-Length: 1\r\n", "a")).streamed_at,
            FoundRequest::kNever);
  EXPECT_EQ(OneRequest("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na")
                .streamed_at,
            FoundRequest::kNever);
}

// --- the connection after the request

TEST(Http1ConnectionTest, CloseIsBlanked) {
  const std::string close = Get("X: close\r\nConnection: close\r\n");
  const FoundRequest request = OneRequest(close);
  EXPECT_TRUE(request.request.last);
  EXPECT_EQ(Blanked(close, request.request), Get("X: close\r\nConnection:      \r\n"));
}

// A streamed request is sent before its end.
TEST(Http1ConnectionTest, BlanksAreKnownWhenTheHeadIs) {
  const std::string head = Post("Connection: close\r\nContent-Length: 5\r\n", "");
  const FoundRequest request = OneRequest(head, *Http1(1));
  EXPECT_EQ(request.streamed_at, head.size());
  EXPECT_TRUE(request.at_stream.last);
  EXPECT_EQ(Blanked(head, request.at_stream),
            Post("Connection:      \r\nContent-Length: 5\r\n", ""));
}

TEST(Http1ConnectionTest, OnlyTheCloseTokenIsBlanked) {
  const std::string close = "\r\n" + Get("connection:TE,\t Close ,x\r\n");
  EXPECT_EQ(Blanked(close, OneRequest(close).request),
            "\r\n" + Get("connection:TE,\t       ,x\r\n"));
}

// The server sees the second "close" and announces its close in its reply.
TEST(Http1ConnectionTest, OnlyTheFirstOfTwoCloseTokensIsBlanked) {
  const std::string close = Get("Connection: close\r\nConnection: close\r\n");
  EXPECT_EQ(Blanked(close, OneRequest(close).request),
            Get("Connection:      \r\nConnection: close\r\n"));
}

TEST(Http1ConnectionTest, OtherTokensAreNotBlanked) {
  for (const char* value : {"keep-alive", "closed", "xclose", "clos", "close x", "clo se",
                            "x close", "", "\"close\"", "close;a"}) {
    const FoundRequest request = OneRequest(Get("Connection: " + std::string(value) + "\r\n"));
    EXPECT_FALSE(request.request.last) << value;
    EXPECT_EQ(request.request.blank_size, 0u) << value;
  }
}

TEST(Http1ConnectionTest, BlankedRequestKeepsTheConnectionOpen) {
  const std::string close = Get("Connection: a, close, b\r\n");
  const FoundRequest request = OneRequest(Blanked(close, OneRequest(close).request));
  EXPECT_EQ(request.state, ParseState::kEnd);
  EXPECT_FALSE(request.request.last);
}

TEST(Http1ConnectionTest, Http10RequestIsTheLastUnlessItKeepsAlive) {
  EXPECT_TRUE(OneRequest("GET / HTTP/1.0\r\n\r\n").request.last);
  EXPECT_EQ(OneRequest("GET / HTTP/1.0\r\n\r\n").request.blank_size, 0u);
  EXPECT_FALSE(OneRequest("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").request.last);
  EXPECT_TRUE(OneRequest("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").request.last);
}

TEST(Http1ConnectionTest, UpgradesAreDedicated) {
  const FoundRequest upgrade = OneRequest(
      Get("Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"));
  EXPECT_TRUE(upgrade.request.dedicated);
  EXPECT_EQ(upgrade.request.blank_size, 0u);
  EXPECT_EQ(upgrade.state, ParseState::kEnd);
  EXPECT_FALSE(OneRequest(Get("Upgrade-Insecure-Requests: 1\r\n")).request.dedicated);
  const std::string with_body = Post("upgrade: h2c\r\nContent-Length: 5\r\n", "hello");
  EXPECT_EQ(OneRequest(with_body).size, with_body.size());
  EXPECT_TRUE(OneRequest(with_body, *Http1(1)).at_stream.dedicated);
}

TEST(Http1ConnectionTest, ConnectIsDedicatedAndEndsWithItsHead) {
  const std::string head = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n";
  const auto found = FindRequests(*Http1(), head + "\x16\x03\x01");
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].size, head.size());
  EXPECT_TRUE(found[0].request.dedicated);
  EXPECT_EQ(found[0].request.reply_hint, kHttp1ReplyToConnect);
  EXPECT_FALSE(OneRequest("connect a:1 HTTP/1.1\r\nHost: a\r\n\r\n").request.dedicated);
  EXPECT_FALSE(OneRequest("CONNECTX a:1 HTTP/1.1\r\nHost: a\r\n\r\n").request.dedicated);
}

TEST(Http1ConnectionTest, ARequestIsClassifiedByItselfAlone) {
  const auto found = FindRequests(*Http1(), Get("Upgrade: x\r\n") + Get("Connection: close\r\n") +
                                                "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + Get(""));
  ASSERT_THAT(found, SizeIs(4));
  EXPECT_TRUE(found[0].request.dedicated);
  EXPECT_TRUE(found[1].request.last);
  EXPECT_EQ(found[2].request.reply_hint, kHttp1ReplyToHead);
  EXPECT_FALSE(found[3].request.dedicated);
  EXPECT_FALSE(found[3].request.last);
  EXPECT_EQ(found[3].request.reply_hint, kHttp1ReplyToOther);
  EXPECT_EQ(found[3].request.blank_size, 0u);
}

// --- methods

FoundRequest WithMethod(std::string_view method, const Codec& codec = *Http1()) {
  return OneRequest(std::string(method) + " / HTTP/1.1\r\nHost: a\r\n\r\n", codec);
}

TEST(Http1MethodTest, OnlyMethodsThatAreIdempotentByTheirDefinitionAreRepeatable) {
  for (const char* method : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    EXPECT_TRUE(WithMethod(method).request.repeatable) << method;
  }
  for (const char* method : {"POST", "PATCH", "CONNECT", "LOCK", "get", "GETX", "GE", "PROPFIND",
                             "DELETEDELETEDELETEDELETE"}) {
    EXPECT_FALSE(WithMethod(method).request.repeatable) << method;
  }
  test::ExpectSameRequestsForEveryCut(*Http1(), Get("") + Post("", "") + Get(""));
}

TEST(Http1MethodTest, ConfiguredMethodsAreRepeatableAsWell) {
  const std::unique_ptr<Codec> codec =
      NewHttp1Codec({.idempotent_methods = {"POST", "BASELINE-CONTROL"}});
  for (const char* method : {"GET", "TRACE", "POST", "BASELINE-CONTROL"}) {
    EXPECT_TRUE(WithMethod(method, *codec).request.repeatable) << method;
  }
  for (const char* method : {"PATCH", "post", "POSTS", "BASELINE-CONTROLS", "BASELINE-CONTRO"}) {
    EXPECT_FALSE(WithMethod(method, *codec).request.repeatable) << method;
  }
}

// --- replies

TEST(Http1ReplyTest, AReplyWithoutABodyEndsWithItsHead) {
  const std::string head = "\r\nContent-Length: 5\r\n\r\n";
  for (const char* status : {"204 No Content", "304 Not Modified"}) {
    ExpectWholeReply("HTTP/1.1 " + std::string(status) + head);
  }
  ExpectWholeReply("HTTP/1.1 200 OK" + head, kHttp1ReplyToHead);
  ExpectWholeReply(Ok("Transfer-Encoding: chunked\r\n"), kHttp1ReplyToHead);
  ExpectWholeReply(Ok(""), kHttp1ReplyToHead);
  ExpectWholeReply("HTTP/1.1 200 OK" + head, kHttp1ReplyToConnect);
  ExpectWholeReply("HTTP/1.1 403 No" + head + "hello", kHttp1ReplyToConnect);
  ExpectWholeReply(Ok("Content-Length: 0\r\n"));
}

TEST(Http1ReplyTest, AHintIsForOneReply) {
  const auto found =
      FindReplies(*Http1(), Ok("Content-Length: 2\r\n") + Ok("Content-Length: 2\r\n", "ab"),
                  {kHttp1ReplyToHead, kHttp1ReplyToOther});
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[1].state, ParseState::kEnd);
}

TEST(Http1ReplyTest, InformationalResponsesArePartOfTheReply) {
  ExpectWholeReply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" +
                   Ok("Content-Length: 2\r\n", "ab"));
  ExpectWholeReply("HTTP/1.1 100 \r\nConnection: close\r\n\r\nHTTP/1.1 204 a\r\n\r\n");
  EXPECT_FALSE(
      OneReply("HTTP/1.1 100 a\r\nConnection: close\r\n\r\nHTTP/1.1 204 a\r\n\r\n").reply.last);
}

TEST(Http1ReplyTest, ASwitchOfProtocolsIsBroken) {
  ExpectBrokenReply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
}

TEST(Http1ReplyTest, ABodyWithoutAnEndEndsAtClose) {
  for (const char* fields : {"", "Transfer-Encoding: gzip\r\n", "Connection: keep-alive\r\n"}) {
    const FoundReply reply = OneReply(Ok(fields, "body\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"));
    EXPECT_EQ(reply.state, ParseState::kMore) << fields;
    EXPECT_TRUE(reply.ends_at_close) << fields;
    EXPECT_TRUE(reply.reply.last) << fields;
  }
  EXPECT_FALSE(OneReply("HTTP/1.1 200 OK\r\n").ends_at_close);
  EXPECT_FALSE(OneReply(Ok("Content-Length: 5\r\n", "abc")).ends_at_close);
  EXPECT_FALSE(OneReply(Ok("Transfer-Encoding: chunked\r\n", "5\r\n")).ends_at_close);
}

TEST(Http1ReplyTest, ReplyThatAnnouncesACloseIsTheLast) {
  EXPECT_TRUE(OneReply(Ok("Connection: close\r\nContent-Length: 0\r\n")).reply.last);
  EXPECT_TRUE(OneReply(Ok("Connection: a, CLOSE\r\nContent-Length: 1\r\n", "a")).reply.last);
  EXPECT_FALSE(OneReply(Ok("Content-Length: 0\r\n")).reply.last);
  EXPECT_TRUE(OneReply("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").reply.last);
  EXPECT_FALSE(OneReply("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
                   .reply.last);
}

TEST(Http1ReplyTest, MalformedRepliesAreBroken) {
  for (const char* reply :
       {"\r\nHTTP/1.1 204 a\r\n\r\n", "HTTP/1.2 204 a\r\n\r\n", "HTTP/2 204 a\r\n\r\n",
        "http/1.1 204 a\r\n\r\n", "HTTP/1.1  204 a\r\n\r\n", "HTTP/1.1 20 a\r\n\r\n",
        "HTTP/1.1 2040 a\r\n\r\n", "HTTP/1.1 0200 a\r\n\r\n", "HTTP/1.1 099 a\r\n\r\n",
        "HTTP/1.1 2x4 a\r\n\r\n", "HTTP/1.1 204\ta\r\n\r\n", "HTTP/1.1 204 a\n\r\n",
        "HTTP/1.1 204 a\rb\r\n\r\n", "HTTP/1.1 204 \x01\r\n\r\n",
        "HTTP/1.1 204 a\r\nX: y\r\n z\r\n\r\n", "HTTP/1.1 204 a\r\nX : y\r\n\r\n", "+OK\r\n"}) {
    ExpectBrokenReply(reply);
  }
  ExpectWholeReply("HTTP/1.1 204\r\n\r\n");
  ExpectWholeReply("HTTP/1.0 204 \r\n\r\n");
}

TEST(Http1ReplyTest, LengthAndCodingTogetherAreBroken) {
  ExpectBrokenReply(Ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"));
  ExpectBrokenReply(Ok("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"));
  ExpectBrokenReply(Ok("Content-Length: 5\r\nContent-Length: 6\r\n"));
  ExpectBrokenReply(Ok("Transfer-Encoding: chunked, gzip\r\n"));
  ExpectBrokenReply("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(Http1ReplyTest, AHeadAboveItsBoundIsBroken) {
  const auto with_head = [](size_t size) {
    return "HTTP/1.1 204 a\r\nX:" + std::string(size - 22, 'x') + "\r\n\r\n";
  };
  ASSERT_EQ(with_head(100).size(), 100u);
  ExpectWholeReply(with_head(kMaxHttp1ReplyHeadBytes));
  ExpectBrokenReply(with_head(kMaxHttp1ReplyHeadBytes + 1));
  // Each head by itself.
  ExpectWholeReply("HTTP/1.1 100 a\r\n\r\n" + with_head(kMaxHttp1ReplyHeadBytes));
}

TEST(Http1ReplyTest, ChunksHaveTrailersAndNoLimit) {
  ExpectWholeReply(Ok("Transfer-Encoding: chunked\r\n",
                      "186a0\r\n" + std::string(100'000, 'x') + "\r\n0\r\nX: y\r\n\r\n"));
  ExpectBrokenReply(Ok("Transfer-Encoding: chunked\r\n", "1\r\nab"));
  ExpectBrokenReply(Ok("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 1\r\n\r\n"));
}

// --- replies to clients whose connection closes after them

TEST(Http1LastReplyTest, CloseTakesThePlaceOfKeepAlive) {
  EXPECT_EQ(Farewell({Ok("A: b\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n", "ab")}),
            Ok("A: b\r\nConnection: close\r\nContent-Length: 2\r\n", "ab"));
  EXPECT_EQ(Farewell({Ok("Connection: a,keep-alive, b\r\nContent-Length: 0\r\n")}),
            Ok("Connection: a,close, b\r\nContent-Length: 0\r\n"));
}

TEST(Http1LastReplyTest, AReplyWithoutAConnectionFieldGetsOne) {
  EXPECT_EQ(Farewell({Ok("Content-Length: 2\r\n", "ab")}),
            Ok("Connection: close\r\nContent-Length: 2\r\n", "ab"));
  EXPECT_EQ(Farewell({"HTTP/1.1 204 a\r\n\r\n"}), "HTTP/1.1 204 a\r\nConnection: close\r\n\r\n");
}

TEST(Http1LastReplyTest, ReplyWithCloseIsUnchanged) {
  const std::string close = Ok("Connection: close, keep-alive\r\nContent-Length: 0\r\n");
  EXPECT_EQ(Farewell({close}), close);
}

// With "keep-alive" in a later piece, the client gets both tokens, and "close" wins (RFC
// 9112, 9.3).
TEST(Http1LastReplyTest, AHeadInPiecesIsNotBuffered) {
  EXPECT_EQ(
      Farewell({"HTTP/1.1 200 OK\r", "\nConnection: ", "keep-alive\r\nContent-Length: 0\r\n\r\n"}),
      Ok("Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n"));
}

TEST(Http1LastReplyTest, CloseIsInsertedInTheFinalResponseOnly) {
  const std::string interim = "HTTP/1.1 100 a\r\nConnection: keep-alive\r\n\r\n";
  EXPECT_EQ(Farewell({interim + Ok("Content-Length: 0\r\n")}),
            interim + Ok("Connection: close\r\nContent-Length: 0\r\n"));
}

TEST(Http1LastReplyTest, OnlyAClientThatAskedForItGetsClose) {
  const std::string reply = Ok("Connection: keep-alive\r\nContent-Length: 0\r\n");
  EXPECT_EQ(test::EditedReply(*Http1(), {reply}, kHttp1ReplyToOther), reply);
  EXPECT_EQ(OneRequest(Get("")).request.reply_hint, kHttp1ReplyToOther);
  EXPECT_EQ(OneRequest(Get("Connection: close\r\n")).request.reply_hint, kHttp1ReplyThenClose);
  EXPECT_EQ(OneRequest("GET / HTTP/1.0\r\n\r\n").request.reply_hint, kHttp1ReplyThenClose);
  EXPECT_EQ(OneRequest("HEAD / HTTP/1.0\r\n\r\n").request.reply_hint,
            kHttp1ReplyToHead | kHttp1ReplyThenClose);
}

TEST(Http1LastReplyTest, CloseIsInsertedForAnySplitOfTheReply) {
  for (const std::string fields :
       {"", "Connection: keep-alive\r\n", "Connection: close\r\n", "Keep-Alive: timeout=5\r\n"}) {
    const std::string reply = Ok(fields + "Content-Length: 4\r\n", "body");
    for (size_t cut = 1; cut < reply.size(); ++cut) {
      const std::string heard = Farewell({reply.substr(0, cut), reply.substr(cut)});
      const FoundReply told = OneReply(heard);
      EXPECT_EQ(told.state, ParseState::kEnd) << heard;
      EXPECT_TRUE(told.reply.last) << heard;
      EXPECT_TRUE(heard.ends_with("\r\n\r\nbody")) << heard;
    }
  }
}

// --- the codec

TEST(Http1CodecTest, OneRequestAtATime) {
  EXPECT_EQ(Http1()->name(), "http1");
  EXPECT_TRUE(Http1()->one_at_a_time());
  EXPECT_FALSE(Http1()->id_field().has_value());
}

TEST(Http1CodecTest, LocalRepliesAreCompleteReplies) {
  const std::pair<Refusal, const char*> words[] = {{Refusal::kBroken, "HTTP/1.1 400 "},
                                                   {Refusal::kUnavailable, "HTTP/1.1 503 "},
                                                   {Refusal::kLost, "HTTP/1.1 502 "}};
  for (const auto& [why, start] : words) {
    const std::string_view local_reply = Http1()->LocalReply(why);
    EXPECT_TRUE(local_reply.starts_with(start)) << local_reply;
    for (const uint32_t hint : {kHttp1ReplyToOther, kHttp1ReplyToHead}) {
      const FoundReply reply = OneReply(local_reply, hint);
      EXPECT_EQ(reply.state, ParseState::kEnd) << local_reply;
      EXPECT_TRUE(reply.reply.last) << local_reply;
    }
  }
}

}  // namespace
}  // namespace trunkline
