// What must hold of a codec whatever comes: it says the same of bytes in any pieces, and ends no
// message above its limit. (That it uses no more than it is given is checked by feed.h.)
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/dataplane/codec/feed.h"

namespace trunkline::test {

// Seed 0: byte by byte; else pieces of random sizes. Returns what `feed` made of `text` at once.
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
  EXPECT_EQ(text.compare(0, all.size(), all), 0) << "messages are what came, in order";
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
