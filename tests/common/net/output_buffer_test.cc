#include "common/net/output_buffer.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/base/random.h"

namespace trunkline {
namespace {

void Append(OutputBuffer& buffer, const std::string& text) {
  buffer.Append(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

std::string Text(const OutputBuffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

TEST(OutputBufferTest, RandomWritesAndReadsKeepTheOrderOfBytes) {
  FastRandom random(1);
  OutputBuffer buffer;
  std::string model;
  for (int i = 0; i < 5000; ++i) {
    std::string piece(random.Next() % 700, '\0');
    for (char& c : piece) c = static_cast<char>(random.Next());
    Append(buffer, piece);
    model += piece;
    const size_t taken = random.Next() % (model.size() + 1);
    ASSERT_EQ(Text(buffer), model);
    buffer.Consume(taken);
    model.erase(0, taken);
    if (random.Next() % 10 == 0) buffer.Shrink();
  }
  EXPECT_EQ(Text(buffer), model);
}

TEST(OutputBufferTest, UncommittedBytesAreNotReadable) {
  OutputBuffer buffer;
  Append(buffer, "ab");
  std::memcpy(buffer.Reserve(100), "cdef", 4);
  EXPECT_EQ(Text(buffer), "ab");
  buffer.Commit(1);
  EXPECT_EQ(Text(buffer), "abc");
}

TEST(OutputBufferTest, RoomFreedAtTheFrontIsUsedBeforeMemoryGrows) {
  OutputBuffer buffer;
  Append(buffer, std::string(1000, 'x'));
  const uint8_t* const memory = buffer.data();
  buffer.Consume(900);
  Append(buffer, std::string(800, 'y'));
  EXPECT_EQ(buffer.data(), memory) << "moved to the front of the same memory";
  EXPECT_EQ(Text(buffer), std::string(100, 'x') + std::string(800, 'y'));
}

TEST(OutputBufferTest, ShrinkKeepsUnsentBytes) {
  OutputBuffer buffer;
  Append(buffer, std::string(200'000, 'x'));
  buffer.Consume(199'999);
  buffer.Shrink();
  EXPECT_EQ(Text(buffer), "x");
  buffer.Consume(1);
  buffer.Shrink();
  EXPECT_TRUE(buffer.empty());
  Append(buffer, "again");
  EXPECT_EQ(Text(buffer), "again");
}

}  // namespace
}  // namespace trunkline
