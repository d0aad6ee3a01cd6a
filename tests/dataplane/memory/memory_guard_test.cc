#include "dataplane/memory/memory_guard.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/window_budget.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

constexpr int64_t kBudget = 100 << 20;

class MemoryGuardTest : public ::testing::Test, public MemoryGuard::Owner {
 protected:
  Shed ShedClients(int64_t bytes, bool urgent) override {
    ++sheds_;
    asked_bytes_ = bytes;
    urgent_ = urgent;
    if (victims_ == 0) return {};
    --victims_;
    percent_ -= percent_per_victim_;
    return {.clients = 1, .bytes = bytes};
  }
  void Start() {
    guard_.emplace(loop_,
                   MemoryGuard::Options{.source = {.read = [this] { return Read(); },
                                                   .give_back = [this] { ++given_back_; }}},
                   *this, stats_, windows_);
    RunUntilLooked();
  }
  std::optional<MemoryReading> Read() {
    ++looks_;
    if (percent_ < 0) return std::nullopt;
    return MemoryReading{.used_bytes = kBudget / 100 * percent_, .budget_bytes = kBudget};
  }
  // Runs until the guard's timer reads the memory in use again.
  void RunUntilLooked() {
    const int before = looks_;
    const MonotonicTime deadline = MonotonicNow() + absl::Seconds(20);
    while (looks_ == before && MonotonicNow() < deadline) loop_.RunOnce(absl::Milliseconds(20));
    ASSERT_GT(looks_, before);
  }

  EventLoop loop_;
  WorkerStats stats_;
  WindowBudget windows_{int64_t{64} << 20};
  int64_t percent_ = 10;  // of the budget
  int looks_ = 0;
  int sheds_ = 0;
  int victims_ = 0;
  int64_t percent_per_victim_ = 10;
  int64_t asked_bytes_ = 0;
  bool urgent_ = false;
  int given_back_ = 0;
  std::optional<MemoryGuard> guard_;
};

TEST_F(MemoryGuardTest, WithoutABudgetMemoryIsNotRead) {
  guard_.emplace(loop_, MemoryGuard::Options(), *this, stats_, windows_);
  loop_.RunOnce(absl::Milliseconds(1));
  EXPECT_EQ(looks_, 0);
  EXPECT_TRUE(guard_->takes_clients());
}

TEST_F(MemoryGuardTest, NoClientIsResetWhileMemorySuffices) {
  percent_ = 94;
  Start();
  EXPECT_EQ(sheds_, 0);
  EXPECT_TRUE(guard_->takes_clients());
}

TEST_F(MemoryGuardTest, ClientsAreResetUntilThereIsRoomAgain) {
  Start();
  percent_ = 96;
  victims_ = 5;
  RunUntilLooked();
  EXPECT_EQ(sheds_, 1);
  EXPECT_FALSE(urgent_);
  EXPECT_NEAR(static_cast<double>(asked_bytes_), kBudget * 0.06, kBudget * 0.001) << "down to 90 %";
  EXPECT_EQ(given_back_, 1) << "freed memory is returned to the kernel";
  RunUntilLooked();
  EXPECT_EQ(sheds_, 1) << "86 % are used";
}

TEST_F(MemoryGuardTest, FullMemoryStopsAcceptingUntilItIsNoLongerFull) {
  Start();
  percent_ = 99;
  RunUntilLooked();
  EXPECT_FALSE(guard_->takes_clients());
  EXPECT_TRUE(urgent_);
  EXPECT_EQ(stats_.memory_full.Value(), 1);
  percent_ = 96;
  RunUntilLooked();
  EXPECT_FALSE(guard_->takes_clients());
  percent_ = 94;
  RunUntilLooked();
  EXPECT_TRUE(guard_->takes_clients());
  EXPECT_EQ(stats_.memory_full.Value(), 0);
}

TEST_F(MemoryGuardTest, BuffersMayGrowBelowEightyPercent) {
  Start();
  percent_ = 79;
  RunUntilLooked();
  EXPECT_EQ(stats_.memory_short.Value(), 0);
  percent_ = 81;
  RunUntilLooked();
  EXPECT_EQ(stats_.memory_short.Value(), 1);
  percent_ = 74;
  RunUntilLooked();
  EXPECT_EQ(stats_.memory_short.Value(), 0);
}

TEST_F(MemoryGuardTest, FailedReadingChangesNothing) {
  Start();
  percent_ = 99;
  RunUntilLooked();
  percent_ = -1;
  RunUntilLooked();
  EXPECT_FALSE(guard_->takes_clients());
}

// A burst that buffers megabytes in one pass must not wait for the timer.
TEST_F(MemoryGuardTest, LargeGrowthOfBufferedBytesIsCheckedInTheSamePass) {
  percent_ = 90;
  Start();
  const int before = looks_;
  stats_.to_client_buffered_bytes.Add(kBudget);
  loop_.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(looks_, before + 1);
}

TEST_F(MemoryGuardTest, FutileSearchForClientsIsNotRepeatedWithEachReading) {
  Start();
  percent_ = 96;
  RunUntilLooked();
  RunUntilLooked();
  EXPECT_EQ(sheds_, 1) << "less than 250 ms have passed";
  EXPECT_GE(given_back_, 1) << "malloc may retain the memory";
}

}  // namespace
}  // namespace trunkline
