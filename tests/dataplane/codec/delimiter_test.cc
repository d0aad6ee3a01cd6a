#include "dataplane/codec/delimiter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/random.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"
#include "tests/dataplane/codec/feed.h"
#include "tests/dataplane/codec/found.h"
#include "tests/dataplane/codec/plain_search.h"

namespace trunkline {
namespace {

using test::Fed;
using test::FeedBothWays;
using test::FeedReplies;
using test::FeedRequests;
using test::Pieces;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Codec> Make(const std::string& delimiter,
                            uint64_t max_message_bytes = kDefaultMaxMessageBytes) {
  absl::StatusOr<std::unique_ptr<Codec>> codec =
      NewDelimiterCodec({.delimiter = delimiter, .max_message_bytes = max_message_bytes});
  EXPECT_TRUE(codec.ok()) << codec.status();
  return *std::move(codec);
}

std::string Refused(const DelimiterOptions& options) {
  const absl::StatusOr<std::unique_ptr<Codec>> codec = NewDelimiterCodec(options);
  EXPECT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(codec.status().message());
}

TEST(DelimiterTest, MessagesOfRealProtocolsAreSeparated) {
  using namespace std::string_literals;
  struct Case {
    std::string delimiter;
    std::vector<std::string> messages;
  };
  const Case cases[] = {
      // memcached's protocol.txt: commands whose requests and replies are one line each.
      {"\r\n", {"incr counter 1\r\n", "touch key 60\r\n", "delete key\r\n", "version\r\n"}},
      // RFC 5321, 4.1.1.4 and D.1: mail data up to its end, with a line that begins with a dot.
      {"\r\n.\r\n", {"Blah blah blah...\r\n..etc. etc. etc.\r\n.\r\n", "\r\n.\r\n"}},
      // STOMP 1.2, "STOMP Frames": they end with NUL and have line breaks within.
      {"\0"s,
       {"CONNECT\naccept-version:1.2\nhost:example.org\n\n\0"s, "DISCONNECT\nreceipt:77\n\n\0"s}},
      // NMEA 0183 sentences, checksums after the star.
      {"\r\n",
       {"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n",
        "$GPGLL,4916.45,N,12311.12,W,225444,A,*1D\r\n"}},
      // HL7 minimal lower layer protocol: <VT> segments <FS><CR>; segments end with <CR> as well.
      {"\x1c\r",
       {"\x0bMSH|^~\\&|LAB|A|B|C|20240101||ACK|1|P|2.5\rMSA|AA|1\r\x1c\r",
        "\x0bMSH|^~\\&\r\x1c\r"}},
  };
  for (const Case& test : cases) {
    std::string all;
    for (const std::string& message : test.messages) all += message;
    const Fed fed = FeedBothWays(*Make(test.delimiter), all);
    EXPECT_EQ(fed.messages, test.messages);
    EXPECT_EQ(fed.rest, "");
    EXPECT_FALSE(fed.broken);
  }
}

TEST(DelimiterTest, SelfOverlappingDelimiterIsFound) {
  EXPECT_THAT(FeedBothWays(*Make("\r\r\n"), "a\r\r\r\nb\r\r\n").messages,
              ElementsAre("a\r\r\r\n", "b\r\r\n"));
  EXPECT_THAT(FeedBothWays(*Make("\r\n\r\n"), "a\r\n\r\r\n\r\n\r\n\r\n").messages,
              ElementsAre("a\r\n\r\r\n\r\n", "\r\n\r\n"));
  EXPECT_THAT(FeedBothWays(*Make("aabaaab"), "aabaabaaabaabaaab").messages,
              ElementsAre("aabaabaaab", "aabaaab"));
}

TEST(DelimiterTest, DelimitersDoNotShareBytes) {
  const Fed fed = FeedBothWays(*Make("aa"), "aaaaa");
  EXPECT_THAT(fed.messages, ElementsAre("aa", "aa"));
  EXPECT_EQ(fed.rest, "a");
}

TEST(DelimiterTest, DelimiterAloneIsAMessage) {
  EXPECT_THAT(FeedBothWays(*Make("\n"), "\n\nx\n").messages, ElementsAre("\n", "\n", "x\n"));
}

TEST(DelimiterTest, PartialDelimiterEndsNoMessage) {
  const Fed fed = FeedBothWays(*Make("\r\n"), "one\rtwo\nthree\r");
  EXPECT_TRUE(fed.messages.empty());
  EXPECT_EQ(fed.rest, "one\rtwo\nthree\r");
}

TEST(DelimiterTest, AMessageAtTheLimitPassesAndOneAboveIsRefused) {
  const std::unique_ptr<Codec> codec = Make("\r\n", 8);
  EXPECT_THAT(FeedBothWays(*codec, "123456\r\n123456\r\n").messages,
              ElementsAre("123456\r\n", "123456\r\n"));
  for (const char* text : {"1234567\r\n", "12345678\r\n", "12345678", "\r\r\r\r\r\r\r\r\n"}) {
    const Fed fed = FeedBothWays(*codec, text);
    EXPECT_TRUE(fed.broken) << text;
    EXPECT_TRUE(fed.messages.empty()) << text;
  }
  EXPECT_FALSE(FeedBothWays(*codec, "1234567").broken);
}

TEST(DelimiterTest, OnlyTheDelimiterFitsIntoTheSmallestLimit) {
  const std::unique_ptr<Codec> codec = Make("\r\n", 2);
  EXPECT_THAT(FeedBothWays(*codec, "\r\n\r\n").messages, ElementsAre("\r\n", "\r\n"));
  EXPECT_TRUE(FeedBothWays(*codec, "x\r\n").broken);
}

TEST(DelimiterTest, InvalidOptionsAreRefusedByName) {
  EXPECT_THAT(Refused({.delimiter = ""}), HasSubstr("delimiter: expected 1 to 16 bytes; got 0"));
  EXPECT_THAT(Refused({.delimiter = std::string(17, 'x')}), HasSubstr("got 17"));
  EXPECT_THAT(Refused({.delimiter = "\r\n", .max_message_bytes = 1}),
              HasSubstr("max_message_bytes: expected 2 (the delimiter alone) to 67108864; got 1"));
  EXPECT_THAT(Refused({.delimiter = "x", .max_message_bytes = kLargestMaxMessageBytes + 1}),
              HasSubstr("got 67108865"));
  Make("x", kLargestMaxMessageBytes);
  Make(std::string(16, 'x'), 16);
}

// memcached's text protocol.
TEST(DelimiterTest, OnlyRequestsWithListedPrefixesAreShared) {
  const auto codec = NewDelimiterCodec(
      {.delimiter = "\r\n", .shared_prefixes = {"incr ", "delete ", "version\r\n"}});
  ASSERT_TRUE(codec.ok()) << codec.status();
  const std::string all =
      "incr a 1\r\nset a 0 0 1\r\n1\r\ndelete a\r\nquit\r\nversion\r\nversions\r\n incr a 1\r\n" +
      ("incr " + std::string(100, 'k')) + " 1\r\n\r\nincr\r\nINCR a 1\r\n";
  std::vector<bool> dedicated;
  for (const test::FoundRequest& found : test::FindRequests(**codec, all)) {
    EXPECT_EQ(found.state, ParseState::kEnd);
    dedicated.push_back(found.request.dedicated);
  }
  EXPECT_THAT(dedicated, ElementsAre(false, true, true, false, true, false, true, true, false, true,
                                     true, true));
  test::ExpectSameRequestsForEveryCut(**codec, all);
  EXPECT_FALSE(test::FindRequests(*Make("\r\n"), "quit\r\n")[0].request.dedicated);
}

TEST(DelimiterTest, UselessPrefixesAreRefused) {
  EXPECT_THAT(Refused({.delimiter = "\n", .shared_prefixes = {"get ", ""}}),
              HasSubstr("shared_prefixes: expected 1 to 32 bytes each; got 0"));
  EXPECT_THAT(Refused({.delimiter = "\n", .shared_prefixes = {std::string(33, 'x')}}),
              HasSubstr("got 33"));
}

// RFC 6587, 3.4.2: syslog over TCP.
TEST(DelimiterTest, OneWayMessagesHaveNoReplies) {
  const auto codec = NewDelimiterCodec({.delimiter = "\n", .one_way = true});
  ASSERT_TRUE(codec.ok()) << codec.status();
  EXPECT_TRUE((*codec)->one_way());
  EXPECT_TRUE((*codec)->always_shares());
  EXPECT_THAT(
      FeedRequests(**codec, {"<34>1 - host app - - - one\n<34>1 - host app - - - two\n"}).notes,
      ElementsAre("none", "none"));
  EXPECT_FALSE(Make("\n")->one_way());
}

TEST(DelimiterTest, OneWayExcludesSharedPrefixes) {
  EXPECT_THAT(Refused({.delimiter = "\n", .shared_prefixes = {"get "}, .one_way = true}),
              HasSubstr("shared_prefixes: expected none beside one_way; got 1"));
}

TEST(DelimiterTest, RepliesComeInTheOrderOfRequests) {
  const std::unique_ptr<Codec> codec = Make("\n");
  EXPECT_EQ(codec->name(), "delimiter");
  EXPECT_FALSE(codec->id_field().has_value());
  EXPECT_FALSE(codec->one_at_a_time());
  EXPECT_EQ(codec->LocalReply(Refusal::kBroken), "");
}

// Few different bytes, so that delimiters often overlap themselves and often almost match.
std::string RandomText(FastRandom& random, size_t size, uint64_t alphabet) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random.Next() % alphabet);
  return text;
}

TEST(DelimiterTest, RandomTextInRandomPiecesMatchesAPlainSearch) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    const uint64_t alphabet = 1 + random.Next() % 3;
    const std::string delimiter = RandomText(random, 1 + random.Next() % 16, alphabet);
    const std::string text = RandomText(random, random.Next() % 400, alphabet);
    const size_t limit = delimiter.size() + random.Next() % 400;
    const std::unique_ptr<Codec> codec = Make(delimiter, limit);
    const Pieces pieces = test::RandomPieces(text, random);
    const Fed expected = test::PlainSearch(text, delimiter, limit);
    EXPECT_EQ(FeedRequests(*codec, pieces), expected);
    EXPECT_EQ(FeedReplies(*codec, pieces), expected);
  }
}

}  // namespace
}  // namespace trunkline
