// Invariants of a codec for any input: its result does not depend on how the bytes are split, and
// it ends no message above its limit. (feed.h checks that it reads no more bytes than it is given.)
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/dataplane/codec/feed.h"

namespace trunkline::test {

// Seed 0 feeds single bytes, any other seed pieces of random sizes. Returns the result of feeding
// `text` in one piece.
inline Fed CheckPieces(const std::string& text, uint64_t seed, size_t max_message_bytes,
                       const std::function<Fed(const Pieces&)>& feed) {
  Fed whole = feed({text});
  FastRandom random(seed);
  EXPECT_EQ(feed(seed == 0 ? OneByOne(text) : RandomPieces(text, random)), whole);
  std::string all;
  for (const std::string& message : whole.messages) {
    EXPECT_LE(message.size(), max_message_bytes);
    all += message;
  }
  EXPECT_EQ(text.compare(0, all.size(), all), 0) << "messages must be the input in order";
  return whole;
}

inline Fed CheckRequests(const Codec& codec, const std::string& text, uint64_t seed,
                         size_t max_message_bytes) {
  return CheckPieces(text, seed, max_message_bytes,
                     [&](const Pieces& pieces) { return FeedRequests(codec, pieces); });
}

inline Fed CheckReplies(const Codec& codec, const std::string& text, uint64_t seed,
                        size_t max_message_bytes, const std::vector<uint32_t>& hints = {}) {
  return CheckPieces(text, seed, max_message_bytes,
                     [&](const Pieces& pieces) { return FeedReplies(codec, pieces, hints); });
}

}  // namespace trunkline::test
