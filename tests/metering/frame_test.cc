#include "examples/metering/frame.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace trunkline::metering {
namespace {

std::string Frame(const std::string& message) {
  std::string out;
  AppendFrame(message, &out);
  return out;
}

// Reads like a connection: keeps the bytes that TakeFrame left for the next piece.
std::vector<std::string> TakeAll(const std::vector<std::string>& pieces) {
  std::vector<std::string> messages;
  std::string kept;
  for (const std::string& piece : pieces) {
    kept += piece;
    std::string_view bytes = kept;
    while (true) {
      auto message = TakeFrame(&bytes);
      EXPECT_TRUE(message.ok()) << message.status();
      if (!message.ok() || !message->has_value()) break;
      messages.emplace_back(**message);
    }
    kept = std::string(bytes);
  }
  EXPECT_EQ(kept, "");
  return messages;
}

TEST(FrameTest, LengthIsBigEndian) {
  EXPECT_EQ(Frame("ab"), std::string("\0\0\0\2ab", 6));
  EXPECT_EQ(Frame(std::string(0x1234, 'x')).substr(0, 4), std::string("\0\0\x12\x34", 4));
}

TEST(FrameTest, SplitAtEveryByteGivesTheSameMessages) {
  const std::vector<std::string> messages = {"a", std::string(300, 'b'), "cc"};
  std::string stream;
  for (const std::string& message : messages) stream += Frame(message);
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EXPECT_EQ(TakeAll({stream.substr(0, cut), stream.substr(cut)}), messages) << "cut at " << cut;
  }
  std::vector<std::string> single_bytes;
  for (const char c : stream) single_bytes.emplace_back(1, c);
  EXPECT_EQ(TakeAll(single_bytes), messages);
}

TEST(FrameTest, TruncatedFrameIsNotTaken) {
  const std::string whole = Frame("hello");
  for (size_t length = 0; length < whole.size(); ++length) {
    std::string_view bytes(whole.data(), length);
    auto message = TakeFrame(&bytes);
    ASSERT_TRUE(message.ok());
    EXPECT_FALSE(message->has_value());
    EXPECT_EQ(bytes.size(), length) << "an incomplete frame must stay in the input";
  }
}

TEST(FrameTest, LargestMessageIsTakenAndOneByteMoreIsRefused) {
  const std::string largest = Frame(std::string(kMaxMessageBytes, 'x'));
  std::string_view bytes = largest;
  auto message = TakeFrame(&bytes);
  ASSERT_TRUE(message.ok());
  EXPECT_EQ((*message)->size(), kMaxMessageBytes);

  // The length alone, in four bytes, is refused.
  const std::string too_long("\0\1\0\1", 4);
  bytes = too_long;
  EXPECT_EQ(TakeFrame(&bytes).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FrameTest, EmptyMessageIsRefused) {
  const std::string empty("\0\0\0\0", 4);
  std::string_view bytes = empty;
  EXPECT_EQ(TakeFrame(&bytes).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FrameTest, GarbageNeverReadsPastItsEnd) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 10'000; ++round) {
    std::string garbage(random() % 64, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    std::string_view bytes = garbage;
    auto message = TakeFrame(&bytes);
    if (!message.ok() || !message->has_value()) continue;
    EXPECT_GE((*message)->data(), garbage.data());
    EXPECT_LE((*message)->data() + (*message)->size(), garbage.data() + garbage.size());
    EXPECT_EQ(bytes.size() + (*message)->size() + kFrameHeaderBytes, garbage.size());
  }
}

}  // namespace
}  // namespace trunkline::metering
