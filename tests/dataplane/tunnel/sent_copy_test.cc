// The copy of a tunnel flow that is sent again at another endpoint.
#include "dataplane/tunnel/sent_copy.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"

namespace trunkline {
namespace {

const MonotonicTime kStart = MonotonicTime() + absl::Seconds(1);

void Add(SentCopy& copy, std::string_view bytes, MonotonicTime now = kStart) {
  copy.Add(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), now);
}

// Everything that is still to be sent, taken in pieces of `piece` bytes.
std::string ReplayInPieces(SentCopy& copy, size_t piece) {
  std::string sent;
  std::vector<uint8_t> buffer(piece);
  while (!copy.replayed()) {
    const size_t size = copy.Replay(buffer.data(), piece);
    sent.append(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(size));
  }
  return sent;
}

TEST(SentCopyTest, ReplaysEverythingInOrderAndInPieces) {
  SentCopy copy;
  Add(copy, "one");
  Add(copy, "two");
  EXPECT_TRUE(copy.replayed()) << "it was sent once";
  copy.Rewind();
  EXPECT_EQ(ReplayInPieces(copy, 4), "onetwo");
  Add(copy, "three");
  copy.Rewind();
  EXPECT_EQ(ReplayInPieces(copy, 100), "onetwothree") << "a second retry sends all of it again";
}

// A retry while the copy is being sent again starts from the beginning.
TEST(SentCopyTest, RewindInTheMiddleOfAReplayStartsAgain) {
  SentCopy copy;
  Add(copy, "abc");
  copy.Rewind();
  uint8_t first = 0;
  EXPECT_EQ(copy.Replay(&first, 1), 1u);
  EXPECT_FALSE(copy.replayed());
  copy.Rewind();
  EXPECT_EQ(ReplayInPieces(copy, 2), "abc");
}

TEST(SentCopyTest, CopyAtTheLimitIsComplete) {
  SentCopy copy;
  Add(copy, std::string(SentCopy::kMaxBytes, 'x'));
  EXPECT_TRUE(copy.complete());
  EXPECT_EQ(copy.size(), SentCopy::kMaxBytes);
}

// A retry from a part of the bytes would corrupt the stream.
TEST(SentCopyTest, CopyBeyondTheLimitIsDroppedForGood) {
  SentCopy copy;
  Add(copy, std::string(SentCopy::kMaxBytes, 'x'));
  Add(copy, "y");
  EXPECT_FALSE(copy.complete());
  EXPECT_EQ(copy.size(), 0u);
  Add(copy, "z");
  EXPECT_FALSE(copy.complete());
  EXPECT_EQ(copy.size(), 0u);
}

TEST(SentCopyTest, AgeIsThatOfTheOldestByte) {
  SentCopy copy;
  Add(copy, "a", kStart);
  Add(copy, "b", kStart + absl::Seconds(5));
  EXPECT_EQ(copy.since(), kStart);
  copy.Drop();
  Add(copy, "c", kStart + absl::Seconds(9));
  EXPECT_EQ(copy.since(), kStart + absl::Seconds(9));
}

TEST(SentCopyTest, GaugeShowsTheBytesUntilTheyAreDropped) {
  Gauge bytes;
  SentCopy copy;
  copy.CountIn(&bytes);
  Add(copy, "four");
  EXPECT_EQ(bytes.Value(), 4);
  copy.Drop();
  EXPECT_EQ(bytes.Value(), 0);
  Add(copy, std::string(SentCopy::kMaxBytes, 'x'));
  Add(copy, "y");
  EXPECT_EQ(bytes.Value(), 0);
}

}  // namespace
}  // namespace trunkline
