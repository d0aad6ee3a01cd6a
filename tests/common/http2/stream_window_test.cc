#include "common/http2/stream_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/window_budget.h"

namespace trunkline {
namespace {

constexpr absl::Duration kRoundTrip = absl::Milliseconds(50);
constexpr size_t kHalf = StreamWindow::kInitialBytes / 2;

class StreamWindowTest : public ::testing::Test {
 protected:
  // Reads half a window `after` the previous half. Returns true if the window grew.
  bool ReadHalf(absl::Duration after) {
    now_ = now_ + after;
    return Read(window_, window_.bytes() / 2, &budget_);
  }
  bool Read(StreamWindow& window, size_t bytes, WindowBudget* budget) {
    const int32_t before = window.bytes();
    window.OnRead(bytes, /*waited=*/false, now_, kRoundTrip, budget);
    return window.bytes() > before;
  }
  // Grows the window to its full size.
  void Grow() {
    ReadHalf(absl::ZeroDuration());
    while (ReadHalf(kRoundTrip)) {
    }
    ASSERT_EQ(window_.bytes(), StreamWindow::kMaxBytes);
  }
  // Reads waiting bytes `after` the last read. Returns the WINDOW_UPDATE.
  int32_t ReadWaiting(size_t bytes, absl::Duration after) {
    now_ = now_ + after;
    return window_.OnRead(bytes, /*waited=*/true, now_, kRoundTrip, &budget_);
  }

  WindowBudget budget_{StreamWindow::kBudgetBytes};
  StreamWindow window_;
  MonotonicTime now_ = MonotonicTime::FromNanos(1'000'000'000);
};

TEST_F(StreamWindowTest, FirstHalfDoesNotGrowTheWindow) {
  EXPECT_FALSE(ReadHalf(absl::ZeroDuration()));
  EXPECT_EQ(window_.bytes(), StreamWindow::kInitialBytes);
}

TEST_F(StreamWindowTest, FastReaderDoublesTheWindowUpToTheLimit) {
  ReadHalf(absl::ZeroDuration());
  for (int32_t size = 2 * StreamWindow::kInitialBytes; size <= StreamWindow::kMaxBytes; size *= 2) {
    EXPECT_TRUE(ReadHalf(kRoundTrip));
    EXPECT_EQ(window_.bytes(), size);
  }
  EXPECT_FALSE(ReadHalf(kRoundTrip));
  EXPECT_EQ(window_.bytes(), StreamWindow::kMaxBytes);
}

TEST_F(StreamWindowTest, ReaderSlowerThanTwoRoundTripsKeepsItsWindow) {
  ReadHalf(absl::ZeroDuration());
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(ReadHalf(2 * kRoundTrip));
  EXPECT_EQ(window_.bytes(), StreamWindow::kInitialBytes);
}

TEST_F(StreamWindowTest, SmallReadsAddUp) {
  ReadHalf(absl::ZeroDuration());
  bool grew = false;
  for (size_t read = 0; read < kHalf; read += 1024) {
    EXPECT_FALSE(grew);
    now_ = now_ + absl::Milliseconds(1);
    grew = Read(window_, 1024, &budget_);
  }
  EXPECT_TRUE(grew);
}

TEST_F(StreamWindowTest, SpentBudgetStopsGrowthUntilAStreamReturnsBytes) {
  WindowBudget small(StreamWindow::kInitialBytes);
  StreamWindow other;
  Read(other, kHalf, &small);
  EXPECT_TRUE(Read(other, kHalf, &small));
  EXPECT_EQ(small.left(), 0);
  Read(window_, kHalf, &small);
  EXPECT_FALSE(Read(window_, kHalf, &small));
  other.Release(&small);
  EXPECT_EQ(small.left(), StreamWindow::kInitialBytes);
  EXPECT_TRUE(Read(window_, kHalf, &small));
}

TEST_F(StreamWindowTest, WindowWithoutABudgetNeverGrows) {
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Read(window_, kHalf, nullptr));
}

TEST_F(StreamWindowTest, UpdatesAreSentPerHalfWindowAndAtOnceForGrowth) {
  const auto read = [&](size_t bytes) {
    return window_.OnRead(bytes, /*waited=*/false, now_, kRoundTrip, &budget_);
  };
  EXPECT_EQ(read(kHalf - 1), 0);
  EXPECT_EQ(read(1), static_cast<int32_t>(kHalf));
  EXPECT_EQ(read(kHalf), static_cast<int32_t>(kHalf) + StreamWindow::kInitialBytes);
  EXPECT_EQ(read(kHalf), 0);
}

TEST_F(StreamWindowTest, StalledReaderLosesItsGrowthAndReturnsItAsItReads) {
  Grow();
  const int64_t left = budget_.left();
  const int32_t growth = StreamWindow::kMaxBytes - StreamWindow::kInitialBytes;
  EXPECT_EQ(ReadWaiting(1000, StreamWindow::kStalledAfter), 0);
  EXPECT_EQ(window_.bytes(), StreamWindow::kInitialBytes);
  EXPECT_EQ(budget_.left(), left + 1000) << "the granted bytes may still arrive";
  // The peer may have sent the whole window.
  int32_t told = 0;
  for (int32_t unread = StreamWindow::kMaxBytes - 1000; unread > 0; unread -= 1000) {
    told += ReadWaiting(std::min(unread, 1000), kRoundTrip / 5);
    const int32_t granted = StreamWindow::kInitialBytes;
    EXPECT_LE(told, granted) << unread;
    if (unread > granted) {
      EXPECT_EQ(told, 0) << unread;
    }
  }
  EXPECT_GE(told, StreamWindow::kInitialBytes / 2);
  EXPECT_EQ(budget_.left(), left + growth);
}

TEST_F(StreamWindowTest, ShrunkWindowGrowsAgainForAFastReader) {
  Grow();
  ReadWaiting(1000, StreamWindow::kStalledAfter);
  // The granted bytes arrive first.
  int halves = 1;
  while (halves < 1000 && !ReadHalf(kRoundTrip)) ++halves;
  EXPECT_EQ(window_.bytes(), 2 * StreamWindow::kInitialBytes);
  EXPECT_GE(halves, StreamWindow::kMaxBytes / StreamWindow::kInitialBytes);
}

TEST_F(StreamWindowTest, IdleStreamKeepsItsWindow) {
  Grow();
  now_ = now_ + 100 * StreamWindow::kStalledAfter;
  Read(window_, 1000, &budget_);
  EXPECT_EQ(window_.bytes(), StreamWindow::kMaxBytes);
  ReadWaiting(1000, kRoundTrip);
  EXPECT_EQ(window_.bytes(), StreamWindow::kMaxBytes) << "it waited for a moment only";
}

TEST_F(StreamWindowTest, EndedStreamReturnsItsWholeGrowth) {
  Grow();
  ReadWaiting(1000, StreamWindow::kStalledAfter);
  window_.Release(&budget_);
  EXPECT_EQ(budget_.left(), StreamWindow::kBudgetBytes);
}

TEST_F(StreamWindowTest, ClosedBudgetGrantsNoGrowth) {
  budget_.set_may_grow(false);
  ReadHalf(absl::ZeroDuration());
  EXPECT_FALSE(ReadHalf(kRoundTrip));
  budget_.set_may_grow(true);
  EXPECT_TRUE(ReadHalf(kRoundTrip));
}

}  // namespace
}  // namespace trunkline
