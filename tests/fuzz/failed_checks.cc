// Targets check with EXPECT_*, as tests do, so that they share fixtures with them. Here a failed
// one ends the program, and libFuzzer keeps the input.
#include <gtest/gtest.h>

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  GTEST_FLAG_SET(break_on_failure, true);
  return 0;
}
