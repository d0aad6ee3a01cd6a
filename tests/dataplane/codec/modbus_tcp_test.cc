#include "dataplane/codec/modbus_tcp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

// A header for `length` bytes behind the length field, and as many bytes.
std::string Message(uint16_t transaction, size_t length, char fill = '\x11') {
  std::string message = {static_cast<char>(transaction >> 8), static_cast<char>(transaction), 0, 0,
                         static_cast<char>(length >> 8),      static_cast<char>(length)};
  return message.append(length, fill);
}

// The functions are the examples of "MODBUS Application Protocol Specification V1.1b3": 6.3 (read
// holding registers 108 to 110), 6.6 (write register 2), 7 (exception 2 to function 0x81); the
// header before them as in "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1.3.
const char* const kReadRegisters = "15 01 00 00 00 06 ff  03 00 6b 00 03";
const char* const kRegisters = "15 01 00 00 00 09 ff  03 06 02 2b 00 00 00 64";
const char* const kWriteRegister = "15 02 00 00 00 06 ff  06 00 01 00 03";
const char* const kException = "15 03 00 00 00 03 ff  81 02";

TEST(ModbusTcpTest, MessagesOfTheSpecificationAreSeparated) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  for (const char* text : {kReadRegisters, kRegisters, kWriteRegister, kException}) {
    const std::string message = Hex(text);
    const Fed fed = FeedBothWays(*codec, message);
    EXPECT_THAT(fed.messages, ElementsAre(message));
    EXPECT_FALSE(fed.broken);
    EXPECT_EQ(fed.rest, "");
  }
}

TEST(ModbusTcpTest, MessagesInOneBufferAreSeparated) {
  const std::string first = Hex(kReadRegisters);
  const std::string second = Hex(kException);
  const std::string third = Hex(kRegisters);
  const Fed fed = FeedBothWays(*NewModbusTcpCodec(), first + second + third + third.substr(0, 9));
  EXPECT_THAT(fed.messages, ElementsAre(first, second, third));
  EXPECT_EQ(fed.rest, third.substr(0, 9));
}

TEST(ModbusTcpTest, LengthsFromTwoTo254AreMessages) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  for (size_t length = 0; length <= 300; ++length) {
    const Fed fed = FeedRequests(*codec, {Message(7, length)});
    EXPECT_EQ(fed.broken, length < 2 || length > 254) << length;
    EXPECT_EQ(fed.messages.size(), fed.broken ? 0u : 1u) << length;
  }
  EXPECT_EQ(Message(7, 254).size(), kMaxModbusTcpMessageBytes);
}

TEST(ModbusTcpTest, AHostileLengthIsRefusedBeforeItsBytesCome) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  for (const char* text : {"00 01 00 00 ff", "00 01 00 00 01", "00 01 00 00 00 ff",
                           "00 01 00 00 00 00", "00 01 00 00 00 01"}) {
    const std::string header = Hex(text);
    const Fed fed = FeedBothWays(*codec, header);
    EXPECT_TRUE(fed.broken) << text;
    EXPECT_FALSE(FeedRequests(*codec, {header.substr(0, header.size() - 1)}).broken) << text;
  }
}

TEST(ModbusTcpTest, AnotherProtocolIsRefusedAtItsFirstByte) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  // "GE" could be a transaction; "T " is no protocol 0. Then a serial frame (RTU) of the same
  // function.
  for (const std::string& junk :
       {std::string("GET / HTTP/1.1\r\n\r\n"), Hex("11 03 00 6b 00 03 76 87"),
        Hex("00 01 00 01 00 06 01"), Hex("00 01 80 00 00 06 01")}) {
    const Fed fed = FeedBothWays(*codec, junk);
    EXPECT_TRUE(fed.broken);
    EXPECT_TRUE(fed.messages.empty());
  }
}

// Note() of a request.
std::string Noted(uint8_t unit, uint8_t function) {
  std::string message = Message(1, 6);
  message[6] = static_cast<char>(unit);
  message[7] = static_cast<char>(function);
  const Fed fed = test::FeedEverySplit(
      message, [&](const Pieces& pieces) { return FeedRequests(*NewModbusTcpCodec(), pieces); });
  EXPECT_THAT(fed.notes, testing::SizeIs(1));
  return fed.notes.empty() ? "" : fed.notes[0];
}

TEST(ModbusTcpTest, OnlyFunctionsThatReadAreRepeatable) {
  const std::set<int> reads = {1, 2, 3, 4, 7, 11, 12, 17, 20, 24, 43};
  for (int function = 0; function < 256; ++function) {
    const std::string hint = absl::StrCat("hint=", 0x1100 | function);
    EXPECT_EQ(Noted(0x11, static_cast<uint8_t>(function)),
              reads.contains(function) ? hint : "once " + hint);
  }
}

TEST(ModbusTcpTest, OnlyAWriteToUnit0MayHaveNoReply) {
  EXPECT_EQ(Noted(0, 6), "once maybe hint=6");
  EXPECT_EQ(Noted(0, 16), "once maybe hint=16");
  EXPECT_EQ(Noted(0, 3), "hint=3");
  EXPECT_EQ(Noted(1, 6), "once hint=262");
  EXPECT_EQ(Noted(255, 6), "once hint=65286");
}

// "MODBUS Application Protocol Specification V1.1b3", 7: the function with its highest bit set, and
// the code.
TEST(ModbusTcpTest, ARequestWithoutAReplyGetsExceptionElevenOfItsUnitAndFunction) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  EXPECT_EQ(codec->LateReply(0x1103), Hex("00 00 00 00 00 03 11 83 0b"));
  EXPECT_EQ(codec->LateReply(0xff10), Hex("00 00 00 00 00 03 ff 90 0b"));
  EXPECT_THAT(FeedReplies(*codec, {codec->LateReply(0x1103)}).messages, testing::SizeIs(1));
  EXPECT_EQ(codec->Describe(0x1103), "function 3 of unit 17");
}

TEST(ModbusTcpTest, ABrokenMessageBehindAGoodOneIsFound) {
  const std::string good = Hex(kReadRegisters);
  const Fed fed = FeedBothWays(*NewModbusTcpCodec(), good + Hex("15 02 00 07"));
  EXPECT_THAT(fed.messages, ElementsAre(good));
  EXPECT_TRUE(fed.broken);
}

TEST(ModbusTcpTest, TheTransactionIsTheIdAndThereIsNoLocalReply) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  EXPECT_EQ(codec->name(), "modbus_tcp");
  ASSERT_TRUE(codec->id_field().has_value());
  EXPECT_EQ(codec->id_field()->offset, 0u);
  EXPECT_EQ(codec->id_field()->size, 2u);
  EXPECT_FALSE(codec->one_at_a_time());
  for (const Refusal why : {Refusal::kBroken, Refusal::kUnavailable, Refusal::kLost}) {
    EXPECT_EQ(codec->LocalReply(why), "");
  }
}

TEST(ModbusTcpTest, ParsersOutliveTheirCodec) {
  const std::unique_ptr<RequestParser> parser = NewModbusTcpCodec()->NewRequestParser();
  const std::string message = Hex(kReadRegisters);
  const ParseStep step =
      parser->Parse({reinterpret_cast<const uint8_t*>(message.data()), message.size()});
  EXPECT_EQ(step.state, ParseState::kEnd);
  EXPECT_EQ(step.used, message.size());
}

TEST(ModbusTcpTest, RandomMessagesInRandomPiecesKeepTheirBoundaries) {
  const std::unique_ptr<Codec> codec = NewModbusTcpCodec();
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    std::vector<std::string> messages;
    std::string all;
    for (uint64_t i = 1 + random.Next() % 20; i > 0; --i) {
      messages.push_back(Message(random.Next(), 2 + random.Next() % 253, random.Next()));
      all += messages.back();
    }
    const Pieces pieces = test::RandomPieces(all, random);
    EXPECT_EQ(FeedRequests(*codec, pieces).messages, messages);
    EXPECT_EQ(FeedReplies(*codec, pieces).messages, messages);
  }
}

}  // namespace
}  // namespace trunkline
