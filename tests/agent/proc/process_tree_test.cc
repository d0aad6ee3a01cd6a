#include "agent/proc/process_tree.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/system_files.h"
#include "tests/agent/fixture_root.h"

namespace trunkline {
namespace {

class ProcessTreeTest : public testing::Test {
 protected:
  ProcessTreeTest() : files_(root_.path()), tree_(std::make_unique<ProcessTree>(files_, 100)) {}

  FixtureRoot root_;
  SystemFiles files_;
  std::unique_ptr<ProcessTree> tree_;
};

TEST_F(ProcessTreeTest, OnlyDescendantsCount) {
  root_.WriteProcess(10, 1, 100, 0, 5);
  root_.WriteProcess(11, 10, 100, 0, 6);
  root_.WriteProcess(12, 11, 100, 0, 7);
  root_.WriteProcess(20, 1, 100, 0, 8);
  tree_->Scan(10);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0) << "earlier use is not counted";
  for (const int pid : {10, 11, 12})
    root_.WriteProcess(pid, pid == 10 ? 1 : pid - 1, 150, 0, pid - 5);
  root_.WriteProcess(20, 1, 900, 0, 8);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 1.5);
}

TEST_F(ProcessTreeTest, TimeOfAReapedChildIsCountedOnce) {
  root_.WriteProcess(10, 1, 100, 0, 5);
  root_.WriteProcess(11, 10, 100, 0, 6);
  tree_->Scan(10);
  tree_->CpuSeconds();
  root_.Remove("/proc/11");
  // The child used 30 more ticks before it ended. Its 130 ticks moved to the parent, which used 10
  // itself.
  root_.WriteProcess(10, 1, 110, 130, 5);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.4);
}

TEST_F(ProcessTreeTest, UnreapedChildrenDoNotHideTheWorkOfSurvivors) {
  root_.WriteProcess(10, 1, 100, 0, 5);
  root_.WriteProcess(11, 10, 5000, 0, 6);
  tree_->Scan(10);
  tree_->CpuSeconds();
  root_.Remove("/proc/11");
  root_.WriteProcess(10, 1, 140, 0, 5);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.4);
}

TEST_F(ProcessTreeTest, RestartedRootNeverCountsBackwards) {
  root_.WriteProcess(10, 1, 500, 0, 5);
  tree_->Scan(10);
  tree_->CpuSeconds();
  root_.WriteProcess(10, 1, 600, 0, 5);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 1);
  root_.WriteProcess(10, 1, 20, 0, 900);
  tree_->Scan(10);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 1);
  root_.WriteProcess(10, 1, 70, 0, 900);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 1.5);
}

TEST_F(ProcessTreeTest, VanishedRootLeavesNothingToCount) {
  root_.WriteProcess(10, 1, 500, 0, 5);
  tree_->Scan(10);
  tree_->CpuSeconds();
  root_.Remove("/proc/10");
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0);
  tree_->Scan(10);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0);
}

// As ProcessTreeTest, with clocks of nanoseconds beside the ticks of /proc.
class ProcessTreeClockTest : public ProcessTreeTest {
 protected:
  ProcessTreeClockTest() {
    tree_ = std::make_unique<ProcessTree>(files_, 100, [this](int pid) -> absl::StatusOr<uint64_t> {
      if (!clock_error_.ok()) return clock_error_;
      const auto found = clocks_.find(pid);
      if (found == clocks_.end()) return absl::NotFoundError("ended");
      return found->second;
    });
  }

  // Ticks are what the kernel shows: rounded down.
  void Set(int pid, int parent, uint64_t micros, uint64_t reaped_micros = 0) {
    clocks_[pid] = micros * 1000;
    root_.WriteProcess(pid, parent, micros / 10'000, reaped_micros / 10'000, pid);
  }
  void End(int pid) {
    clocks_.erase(pid);
    root_.Remove(absl::StrCat("/proc/", pid));
  }

  std::map<int, uint64_t> clocks_;
  absl::Status clock_error_;
};

TEST_F(ProcessTreeClockTest, UseBelowATickIsMeasured) {
  Set(10, 1, 100'900);
  tree_->Scan(10);
  tree_->CpuSeconds();
  Set(10, 1, 102'900);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.002) << "2 % of a core in a window of 100 ms";
}

TEST_F(ProcessTreeClockTest, RoundingOfReapedChildrenDoesNotAddUp) {
  Set(10, 1, 0);
  tree_->Scan(10);
  tree_->CpuSeconds();
  // One child at a time uses 5.5 ms; each is seen, and then reaped.
  uint64_t reaped = 0;
  for (int child = 1000; child < 1200; ++child) {
    Set(child, 10, 5'500);
    tree_->Scan(10);
    tree_->CpuSeconds();
    End(child);
    Set(10, 1, 0, reaped += 5'500);
    tree_->CpuSeconds();
  }
  EXPECT_NEAR(tree_->CpuSeconds(), 200 * 0.0055, 0.021);
}

TEST_F(ProcessTreeClockTest, ChildThatIsReapedBetweenTwoReadingsIsCountedOnce) {
  Set(10, 1, 0);
  Set(11, 10, 900'000);
  tree_->Scan(10);
  tree_->CpuSeconds();
  // Its parent was read before it reaped the child, which was gone when it was read.
  End(11);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0);
  Set(10, 1, 0, 1'000'000);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.1);
}

TEST_F(ProcessTreeClockTest, ChildThatEndsBetweenReadingAndScanIsCountedOnce) {
  Set(10, 1, 0);
  Set(11, 10, 900'000);
  tree_->Scan(10);
  tree_->CpuSeconds();
  End(11);
  Set(10, 1, 0, 1'000'000);
  tree_->Scan(10);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.1);
}

TEST_F(ProcessTreeClockTest, ChildrenThatAreNeverReapedDoNotHideLaterOnes) {
  Set(10, 1, 0);
  Set(11, 10, 5'000'000);
  tree_->Scan(10);
  tree_->CpuSeconds();
  End(11);
  tree_->CpuSeconds();
  tree_->CpuSeconds();
  // Another child, between two readings.
  Set(10, 1, 0, 500'000);
  EXPECT_NEAR(tree_->CpuSeconds(), 0.5, 0.021);
}

TEST_F(ProcessTreeClockTest, OrphanThatLeavesTheTreeIsNotOwed) {
  Set(10, 1, 0);
  Set(11, 10, 900'000);
  tree_->Scan(10);
  tree_->CpuSeconds();
  Set(11, 1, 900'000);
  tree_->Scan(10);
  Set(10, 1, 0, 500'000);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.5);
}

TEST_F(ProcessTreeClockTest, KernelWithoutProcessClocksCountsTicks) {
  clock_error_ = absl::PermissionDeniedError("no clocks");
  Set(10, 1, 100'000);
  tree_->Scan(10);
  tree_->CpuSeconds();
  Set(10, 1, 150'000);
  EXPECT_DOUBLE_EQ(tree_->CpuSeconds(), 0.05);
}

}  // namespace
}  // namespace trunkline
