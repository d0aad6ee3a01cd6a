// What fuzzed bytes may not do to a codec: crash it, make it break the contract of codec.h, or make
// it find other messages when they arrive in other pieces.
#pragma once

#include "common/random.h"
#include "tests/dataplane/codec/message_feed.h"

namespace trunkline::test {

// The first byte of an input says how the rest is cut and which limit holds, so that a corpus file
// is a conversation behind one byte.
inline void RequireSameForCuts(uint8_t choice, std::string_view bytes, const auto& find) {
  const auto whole = find(Whole());
  // Takes long for what is long, and random pieces have single bytes among them.
  constexpr size_t kLongestBytewise = 300;
  if (bytes.size() <= kLongestBytewise) {
    Require(find(Bytewise()) == whole, "the same messages byte by byte");
  }
  Require(find(SplitAt(bytes.size() * choice / 256 + 1)) == whole, "the same messages in two");
  FastRandom random(choice);
  Require(find(Random(random)) == whole, "the same messages in random pieces");
}

inline void RequireSameRequestsForCuts(const Codec& codec, uint8_t choice, std::string_view bytes) {
  RequireSameForCuts(choice, bytes,
                     [&](const Cut& cut) { return FindRequests(codec, bytes, cut); });
}

// `hint` holds for the first reply.
inline void RequireSameRepliesForCuts(const Codec& codec, uint8_t choice, std::string_view bytes,
                                      uint32_t hint = 0) {
  RequireSameForCuts(choice, bytes,
                     [&](const Cut& cut) { return FindReplies(codec, bytes, {hint}, cut); });
}

}  // namespace trunkline::test
