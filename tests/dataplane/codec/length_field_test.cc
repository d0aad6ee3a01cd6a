#include "dataplane/codec/length_field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
#include "tests/dataplane/codec/feed.h"

namespace trunkline {
namespace {

using test::Fed;
using test::FeedBothWays;
using test::FeedReplies;
using test::FeedRequests;
using test::Hex;
using test::Pieces;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<Codec> Make(const LengthFieldOptions& options) {
  absl::StatusOr<std::unique_ptr<Codec>> codec = NewLengthFieldCodec(options);
  EXPECT_TRUE(codec.ok()) << codec.status();
  return *std::move(codec);
}

std::string Refused(const LengthFieldOptions& options) {
  const absl::StatusOr<std::unique_ptr<Codec>> codec = NewLengthFieldCodec(options);
  EXPECT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(codec.status().message());
}

struct Protocol {
  const char* from;
  LengthFieldOptions options;
  std::vector<std::string> messages;
};

TEST(LengthFieldTest, MessagesOfRealProtocolsAreSeparated) {
  const Protocol protocols[] = {
      {"DNS over TCP, RFC 1035, 4.2.2: a query for example.com",
       {.length_size = 2, .id = IdField{2, 2}},
       {Hex("00 1d  15 01  01 00 00 01 00 00 00 00 00 00  07") + "example" + Hex("03") + "com" +
        Hex("00 00 01 00 01")}},
      {"DLMS wrapper, IEC 62056-47: an association request of a reading program",
       {.length_offset = 6, .length_size = 2},
       {Hex("00 01 00 10 00 01 00 1f  60 1d a1 09 06 07 60 85 74 05 08 01 01 be 10 04 0e 01 00 00 "
            "00 06 5f 1f 04 00 00 1e 1d ff ff")}},
      {"memcached, BinaryProtocolRevamped: get \"Hello\" and its reply \"World\"",
       {.length_offset = 8, .length_adjustment = 12, .id = IdField{12, 4}},
       {Hex("80 00 00 05 00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00 00 00 00 00") + "Hello",
        Hex("81 00 00 00 04 00 00 00 00 00 00 09 00 00 00 00 00 00 00 00 00 00 00 01 de ad be ef") +
            "World"}},
      {"Cassandra, native protocol v4, 2.3: OPTIONS and READY",
       {.length_offset = 5, .id = IdField{2, 2}},
       {Hex("04 00 00 2a 05 00 00 00 00"), Hex("84 00 00 2a 02 00 00 00 00")}},
      {"TPKT, RFC 1006, 6: a connect request to an S7 controller",
       {.length_offset = 2, .length_size = 2, .length_adjustment = -4},
       {Hex("03 00 00 16  11 e0 00 00 00 01 00 c0 01 0a c1 02 01 00 c2 02 01 02")}},
      {"IEC 60870-5-104: STARTDT, its confirmation, a general interrogation",
       {.length_offset = 1, .length_size = 1},
       {Hex("68 04 07 00 00 00"), Hex("68 04 0b 00 00 00"),
        Hex("68 0e 00 00 00 00 64 01 06 00 01 00 00 00 00 14")}},
      {"MySQL, Protocol::Packet: COM_QUERY",
       {.length_size = 3, .byte_order = ByteOrder::kLittle, .length_adjustment = 1},
       {Hex("21 00 00 00 03") + "select @@version_comment limit 1", Hex("01 00 00 00 01")}},
      {"PostgreSQL, message formats: Query, Sync",
       {.length_offset = 1, .length_adjustment = -4},
       {Hex("51 00 00 00 0d") + "SELECT 1" + Hex("00"), Hex("53 00 00 00 04")}},
  };
  for (const Protocol& protocol : protocols) {
    SCOPED_TRACE(protocol.from);
    std::string all;
    for (const std::string& message : protocol.messages) all += message;
    const Fed fed = FeedBothWays(*Make(protocol.options), all);
    EXPECT_EQ(fed.messages, protocol.messages);
    EXPECT_EQ(fed.rest, "");
    EXPECT_FALSE(fed.broken);
  }
}

// The documentation of Netty 4's LengthFieldBasedFrameDecoder has a table for each of these.
TEST(LengthFieldTest, NettysExamplesAreSeparated) {
  const Protocol examples[] = {
      {"length at the front", {.length_size = 2}, {Hex("00 0c") + "HELLO, WORLD"}},
      {"the length counts itself",
       {.length_size = 2, .length_adjustment = -2},
       {Hex("00 0e") + "HELLO, WORLD"}},
      {"3 bytes of length behind a header",
       {.length_offset = 2, .length_size = 3},
       {Hex("ca fe 00 00 0c") + "HELLO, WORLD"}},
      {"3 bytes of length before a header",
       {.length_size = 3, .length_adjustment = 2},
       {Hex("00 00 0c ca fe") + "HELLO, WORLD"}},
      {"between two headers",
       {.length_offset = 1, .length_size = 2, .length_adjustment = 1},
       {Hex("ca 00 0c fe") + "HELLO, WORLD"}},
      {"between two headers, of the whole message",
       {.length_offset = 1, .length_size = 2, .length_adjustment = -3},
       {Hex("ca 00 10 fe") + "HELLO, WORLD"}},
  };
  for (const Protocol& example : examples) {
    SCOPED_TRACE(example.from);
    const std::string& message = example.messages.front();
    const Fed fed = FeedBothWays(*Make(example.options), message + message + message.substr(0, 3));
    EXPECT_THAT(fed.messages, ElementsAre(message, message));
    EXPECT_EQ(fed.rest, message.substr(0, 3));
  }
}

TEST(LengthFieldTest, AFieldIsReadInEitherByteOrder) {
  for (const size_t size : {1, 2, 3, 4, 8}) {
    std::string big(size, '\0');
    big.back() = 5;
    const std::string little(big.rbegin(), big.rend());
    EXPECT_THAT(FeedBothWays(*Make({.length_size = size}), big + "12345").messages,
                ElementsAre(big + "12345"));
    EXPECT_THAT(FeedBothWays(*Make({.length_size = size, .byte_order = ByteOrder::kLittle}),
                             little + "12345")
                    .messages,
                ElementsAre(little + "12345"));
  }
  // 0x010203 is 66051.
  const std::string text(66051, 'x');
  const uint64_t limit = 100'000;
  EXPECT_EQ(
      FeedRequests(*Make({.length_size = 3, .max_message_bytes = limit}), {Hex("010203") + text})
          .messages.size(),
      1u);
  EXPECT_EQ(
      FeedRequests(
          *Make({.length_size = 3, .byte_order = ByteOrder::kLittle, .max_message_bytes = limit}),
          {Hex("030201") + text})
          .messages.size(),
      1u);
}

TEST(LengthFieldTest, AMessageMayBeItsHeaderAlone) {
  EXPECT_THAT(FeedBothWays(*Make({.length_size = 1}), Hex("00 00 01 78 00")).messages,
              ElementsAre(Hex("00"), Hex("00"), Hex("01 78"), Hex("00")));
}

TEST(LengthFieldTest, AMessageAtTheLimitPassesAndOneAboveIsRefused) {
  const std::unique_ptr<Codec> codec = Make({.length_size = 2, .max_message_bytes = 10});
  const std::string at_limit = Hex("00 08") + "12345678";
  EXPECT_THAT(FeedBothWays(*codec, at_limit + at_limit).messages, ElementsAre(at_limit, at_limit));
  const Fed above = FeedBothWays(*codec, at_limit + Hex("00 09"));
  EXPECT_THAT(above.messages, ElementsAre(at_limit));
  EXPECT_TRUE(above.broken) << "refused at its length, before its bytes arrive";
}

TEST(LengthFieldTest, AHostileLengthIsRefusedWhateverTheAdjustment) {
  for (const int64_t adjustment : {0, 1, 100, -1, -8, -100}) {
    for (const char* value : {"ffffffffffffffff", "fffffffffffffff8", "fffffffffffffff0",
                              "8000000000000000", "7fffffffffffffff", "0000000100000000"}) {
      const Fed fed = FeedBothWays(*Make({.length_size = 8, .length_adjustment = adjustment}),
                                   Hex(value) + std::string(40, 'x'));
      EXPECT_TRUE(fed.broken) << value << " and " << adjustment;
      EXPECT_THAT(fed.messages, IsEmpty());
    }
  }
  for (const size_t size : {1, 2, 3, 4}) {
    const std::unique_ptr<Codec> codec = Make({.length_size = size, .max_message_bytes = 100});
    EXPECT_TRUE(FeedBothWays(*codec, std::string(size, '\xff')).broken) << size;
  }
}

TEST(LengthFieldTest, ALengthThatEndsInsideOfItsOwnHeaderIsRefused) {
  // The value counts all of the message, whose header has 4 bytes.
  const std::unique_ptr<Codec> codec =
      Make({.length_offset = 2, .length_size = 2, .length_adjustment = -4});
  for (const char* header : {"03 00 00 00", "03 00 00 01", "03 00 00 03"}) {
    EXPECT_TRUE(FeedBothWays(*codec, Hex(header)).broken) << header;
  }
  EXPECT_THAT(FeedBothWays(*codec, Hex("03 00 00 04")).messages, ElementsAre(Hex("03 00 00 04")));
}

TEST(LengthFieldTest, AMessageWithoutRoomForItsIdIsRefused) {
  const std::unique_ptr<Codec> codec = Make({.length_size = 2, .id = IdField{4, 4}});
  EXPECT_TRUE(FeedBothWays(*codec, Hex("00 05") + "12345").broken);
  EXPECT_THAT(FeedBothWays(*codec, Hex("00 06") + "123456").messages,
              ElementsAre(Hex("00 06") + "123456"));
  EXPECT_EQ(codec->id_field()->offset, 4u);
  EXPECT_EQ(codec->id_field()->size, 4u);
}

TEST(LengthFieldTest, InvalidPlacesAreRefusedByName) {
  EXPECT_THAT(Refused({.length_size = 5}),
              HasSubstr("length_size: expected 1, 2, 3, 4 or 8 bytes; got 5"));
  EXPECT_THAT(Refused({.length_size = 0}), HasSubstr("length_size"));
  EXPECT_THAT(Refused({.length_size = 1, .max_message_bytes = 0}),
              HasSubstr("max_message_bytes: expected 1 to 67108864; got 0"));
  EXPECT_THAT(Refused({.max_message_bytes = UINT64_MAX}), HasSubstr("max_message_bytes"));
  EXPECT_THAT(Refused({.length_offset = 97, .max_message_bytes = 100}),
              HasSubstr("length_offset: expected a place where 4 bytes are within "
                        "max_message_bytes (100); got 97"));
  EXPECT_THAT(Refused({.length_offset = UINT64_MAX}), HasSubstr("length_offset"));
  Make({.length_offset = 96, .max_message_bytes = 100});
}

TEST(LengthFieldTest, InvalidAdjustmentsAreRefusedByName) {
  EXPECT_THAT(Refused({.length_adjustment = 97, .max_message_bytes = 100}),
              HasSubstr("length_adjustment: expected at most 96, for the shortest message must be "
                        "within max_message_bytes (100); got 97"));
  Make({.length_adjustment = 96, .max_message_bytes = 100});
  EXPECT_THAT(
      Refused({.length_size = 1, .length_adjustment = -256}),
      HasSubstr("length_adjustment: expected at least -255, for the largest value (255) must "
                "make a message that has its header; got -256"));
  Make({.length_size = 1, .length_adjustment = -255});
  EXPECT_THAT(Refused({.length_adjustment = INT64_MIN}), HasSubstr("length_adjustment"));
  EXPECT_THAT(Refused({.length_adjustment = INT64_MAX}), HasSubstr("length_adjustment"));
}

TEST(LengthFieldTest, InvalidIdsAreRefusedByName) {
  EXPECT_THAT(Refused({.id = IdField{4, 3}}),
              HasSubstr("id_size: expected 2, 4 or 8 bytes; got 3"));
  EXPECT_THAT(Refused({.max_message_bytes = 100, .id = IdField{97, 4}}), HasSubstr("id_offset"));
  EXPECT_THAT(Refused({.id = IdField{SIZE_MAX, 4}}), HasSubstr("id_offset"));
  // The field is bytes 4 to 7.
  for (const size_t offset : {1, 3, 4, 7}) {
    EXPECT_THAT(
        Refused({.length_offset = 4, .id = IdField{offset, 4}}),
        HasSubstr("outside of the length field (bytes 4 to 7), because the id is rewritten"));
  }
  Make({.length_offset = 4, .id = IdField{0, 4}});
  Make({.length_offset = 4, .id = IdField{8, 4}});
}

TEST(LengthFieldTest, OneWayMessagesHaveNoRepliesAndNoId) {
  const std::unique_ptr<Codec> codec = Make({.length_size = 1, .one_way = true});
  EXPECT_TRUE(codec->one_way());
  EXPECT_THAT(FeedRequests(*codec, {Hex("01 61 00")}).notes, ElementsAre("none", "none"));
  EXPECT_FALSE(Make({.length_size = 1})->one_way());
  EXPECT_THAT(
      Refused({.length_offset = 2, .length_size = 1, .id = IdField{.size = 2}, .one_way = true}),
      HasSubstr("id_size: expected none beside one_way"));
}

TEST(LengthFieldTest, WithoutAnIdRepliesComeInTheOrderOfRequests) {
  const std::unique_ptr<Codec> codec = Make({});
  EXPECT_EQ(codec->name(), "length_field");
  EXPECT_FALSE(codec->id_field().has_value());
  EXPECT_FALSE(codec->one_at_a_time());
  EXPECT_EQ(codec->LocalReply(Refusal::kBroken), "");
}

// Random valid parameters, small enough that message lengths fit their field.
LengthFieldOptions RandomOptions(FastRandom& random) {
  constexpr uint64_t kSizes[] = {1, 2, 3, 4, 8};
  LengthFieldOptions options;
  options.length_offset = random.Next() % 20;
  options.length_size = kSizes[random.Next() % 5];
  options.byte_order = random.Next() % 2 == 0 ? ByteOrder::kBig : ByteOrder::kLittle;
  options.length_adjustment = static_cast<int64_t>(random.Next() % 60) - 30;
  return options;
}

// Random bytes with the right length in their field.
std::string RandomMessage(const LengthFieldOptions& options, FastRandom& random) {
  const uint64_t header = options.length_offset + options.length_size;
  const int64_t difference = static_cast<int64_t>(header) + options.length_adjustment;
  const uint64_t shortest = std::max<int64_t>(header, difference);
  std::string message(shortest + random.Next() % 150, '\0');
  for (char& c : message) c = static_cast<char>(random.Next());
  const uint64_t value = message.size() - difference;
  for (uint64_t i = 0; i < options.length_size; ++i) {
    const uint64_t place =
        options.byte_order == ByteOrder::kLittle ? i : options.length_size - 1 - i;
    message[options.length_offset + i] = static_cast<char>(value >> 8 * place);
  }
  return message;
}

TEST(LengthFieldTest, RandomMessagesInRandomPiecesKeepTheirBoundaries) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    const LengthFieldOptions options = RandomOptions(random);
    const std::unique_ptr<Codec> codec = Make(options);
    std::vector<std::string> messages;
    std::string all;
    for (uint64_t i = 1 + random.Next() % 10; i > 0; --i) {
      messages.push_back(RandomMessage(options, random));
      all += messages.back();
    }
    const Pieces pieces = test::RandomPieces(all, random);
    EXPECT_EQ(FeedRequests(*codec, pieces).messages, messages);
    EXPECT_EQ(FeedReplies(*codec, pieces).messages, messages);
  }
}

TEST(LengthFieldTest, JunkIsSplitTheSameInAnyPieces) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    LengthFieldOptions options = RandomOptions(random);
    options.max_message_bytes = 300;
    const std::unique_ptr<Codec> codec = Make(options);
    std::string junk(random.Next() % 1000, '\0');
    for (char& c : junk) c = random.Next() % 3 == 0 ? static_cast<char>(random.Next()) : '\0';
    const Fed whole = FeedRequests(*codec, {junk});
    EXPECT_EQ(FeedRequests(*codec, test::RandomPieces(junk, random)), whole);
    for (const std::string& message : whole.messages) EXPECT_LE(message.size(), 300u);
  }
}

}  // namespace
}  // namespace trunkline
