// That the way bytes are cut into pieces changes nothing about the messages in them: every cut into
// two, byte by byte, and random cuts with the seed printed.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "tests/dataplane/codec/message_feed.h"

namespace trunkline::test {

// `find(cut)` lists the messages of bytes of this size.
template <typename Find>
void ExpectSameForEveryCut(size_t size, const Find& find) {
  const auto whole = find(Whole());
  EXPECT_EQ(find(Bytewise()), whole) << "byte by byte";
  for (size_t place = 1; place < size; ++place) {
    ASSERT_EQ(find(SplitAt(place)), whole) << "cut at " << place;
  }
  const uint64_t seed = std::random_device()();
  FastRandom random(seed);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(find(Random(random)), whole) << "seed " << seed;
}

inline void ExpectSameRequestsForEveryCut(const Codec& codec, std::string_view bytes) {
  ExpectSameForEveryCut(bytes.size(),
                        [&](const Cut& cut) { return FindRequests(codec, bytes, cut); });
}

inline void ExpectSameRepliesForEveryCut(const Codec& codec, std::string_view bytes,
                                         const std::vector<uint32_t>& hints = {}) {
  ExpectSameForEveryCut(bytes.size(),
                        [&](const Cut& cut) { return FindReplies(codec, bytes, hints, cut); });
}

}  // namespace trunkline::test
