#include "common/stream_window.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

constexpr absl::Duration kRoundTrip = absl::Milliseconds(50);
constexpr size_t kHalf = StreamWindow::kInitialBytes / 2;

class StreamWindowTest : public ::testing::Test {
 protected:
  // Half a window is read `after` the half before it.
  bool ReadHalf(absl::Duration after) {
    now_ = now_ + after;
    return window_.OnRead(window_.bytes() / 2, now_, kRoundTrip, &budget_);
  }

  WindowBudget budget_{StreamWindow::kBudgetBytes};
  StreamWindow window_;
  MonotonicTime now_ = MonotonicTime::FromNanos(1'000'000'000);
};

TEST_F(StreamWindowTest, FirstHalfIsNoEvidence) {
  EXPECT_FALSE(ReadHalf(absl::ZeroDuration()));
  EXPECT_EQ(window_.bytes(), StreamWindow::kInitialBytes);
}

TEST_F(StreamWindowTest, ReaderThatKeepsUpDoublesItUpToTheLimit) {
  ReadHalf(absl::ZeroDuration());
  for (int32_t size = 2 * StreamWindow::kInitialBytes; size <= StreamWindow::kMaxBytes; size *= 2) {
    EXPECT_TRUE(ReadHalf(kRoundTrip));
    EXPECT_EQ(window_.bytes(), size);
  }
  EXPECT_FALSE(ReadHalf(kRoundTrip));
  EXPECT_EQ(window_.bytes(), StreamWindow::kMaxBytes);
}

TEST_F(StreamWindowTest, ReaderSlowerThanTwoRoundTripsKeepsWhatItHas) {
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
    grew = window_.OnRead(1024, now_, kRoundTrip, &budget_);
  }
  EXPECT_TRUE(grew);
}

TEST_F(StreamWindowTest, SpentBudgetStopsGrowthUntilAStreamGivesItBack) {
  WindowBudget small(StreamWindow::kInitialBytes);
  StreamWindow other;
  other.OnRead(kHalf, now_, kRoundTrip, &small);
  EXPECT_TRUE(other.OnRead(kHalf, now_, kRoundTrip, &small));
  EXPECT_EQ(small.left(), 0);
  window_.OnRead(kHalf, now_, kRoundTrip, &small);
  EXPECT_FALSE(window_.OnRead(kHalf, now_, kRoundTrip, &small));
  other.Release(&small);
  EXPECT_EQ(small.left(), StreamWindow::kInitialBytes);
  EXPECT_TRUE(window_.OnRead(kHalf, now_, kRoundTrip, &small));
}

TEST_F(StreamWindowTest, WithoutABudgetItNeverGrows) {
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(window_.OnRead(kHalf, now_, kRoundTrip, nullptr));
}

}  // namespace
}  // namespace trunkline
