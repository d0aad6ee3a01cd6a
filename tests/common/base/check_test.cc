#include "common/base/check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/common/base/full_pipe.h"

namespace trunkline {
namespace {

TEST(CheckTest, TrueConditionIsEvaluatedOnceAndPasses) {
  int evaluations = 0;
  TRUNKLINE_CHECK(++evaluations == 1, "counts its evaluations");
  EXPECT_EQ(evaluations, 1);
}

TEST(CheckDeathTest, FalseConditionNamesPlaceConditionAndInvariantAndAborts) {
  const int held = 2;
  EXPECT_EXIT(TRUNKLINE_CHECK(held + held == 5, "no more than was taken"),
              testing::KilledBySignal(SIGABRT),
              "check_test\\.cc:[0-9]+: check failed: held \\+ held == 5: no more than was taken");
}

TEST(CheckDeathTest, FailedCheckAbortsAlthoughStderrAcceptsNothing) {
  EXPECT_EXIT(
      {
        const test::FullPipe pipe;
        dup2(pipe.write_end(), STDERR_FILENO);
        alarm(20);  // ends a process that hangs by another signal
        TRUNKLINE_CHECK(false, "never printed");
      },
      testing::KilledBySignal(SIGABRT), "");
}

TEST(CheckTest, IsAnExpression) {
  const void* const pointer = this;
  const bool set = (TRUNKLINE_CHECK(pointer != nullptr, "a test has an address"), true);
  EXPECT_TRUE(set);
}

}  // namespace
}  // namespace trunkline
