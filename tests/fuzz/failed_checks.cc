// Targets check with EXPECT_*, as tests do, so that they share fixtures with them. Here a failed
// one aborts the program: libFuzzer then keeps the input. (GoogleTest's own break_on_failure raises
// a trap, which libFuzzer does not handle.)
#include <gtest/gtest.h>

#include <cstdlib>

namespace {

// Heard after the printer that is there already.
class AbortAtFailure : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed()) std::abort();
  }
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  // GoogleTest owns it from here on.
  testing::UnitTest::GetInstance()->listeners().Append(new AbortAtFailure);
  return 0;
}
