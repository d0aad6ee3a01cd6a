// Targets check with EXPECT_*, as tests do, so that they share fixtures with them. A failed check
// aborts the program here, so that libFuzzer saves the input. (GoogleTest's own break_on_failure
// raises a trap, which libFuzzer does not handle.)
#include <gtest/gtest.h>

#include <cstdlib>

namespace {

// Called after the default printer, which is registered first.
class AbortAtFailure : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed()) std::abort();
  }
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  // GoogleTest takes ownership.
  testing::UnitTest::GetInstance()->listeners().Append(new AbortAtFailure);
  return 0;
}
