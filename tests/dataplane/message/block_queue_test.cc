// A queue of bytes in blocks returns every byte once and in order, whatever the sizes.
#include "dataplane/message/block_queue.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/random.h"

namespace trunkline {
namespace {

TEST(BlockQueueTest, ReturnsEveryByteInOrder) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  FastRandom random(kSeed);
  BlockQueue queue;
  std::vector<uint8_t> in;
  std::vector<uint8_t> out;
  for (int step = 0; step < 3000; ++step) {
    std::vector<uint8_t> piece(random.Next() % (random.Next() % 16 == 0 ? 200'000 : 2000));
    for (uint8_t& byte : piece) byte = static_cast<uint8_t>(random.Next());
    queue.Append(piece);
    in.insert(in.end(), piece.begin(), piece.end());
    for (uint64_t turns = random.Next() % 4; turns > 0 && !queue.empty(); --turns) {
      const std::span<const uint8_t> front = queue.front();
      ASSERT_FALSE(front.empty());
      ASSERT_LE(front.size(), BlockQueue::kBlockBytes);
      const size_t size = random.Next() % (front.size() + 1);
      out.insert(out.end(), front.begin(), front.begin() + static_cast<ptrdiff_t>(size));
      queue.Consume(size);
    }
    ASSERT_EQ(queue.size(), in.size() - out.size());
  }
  while (!queue.empty()) {
    const std::span<const uint8_t> front = queue.front();
    out.insert(out.end(), front.begin(), front.end());
    queue.Consume(front.size());
  }
  EXPECT_TRUE(in == out);
}

}  // namespace
}  // namespace trunkline
