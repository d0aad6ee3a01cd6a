#include "tests/common/log_capture.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <thread>

namespace trunkline::test {
namespace {

// A server of a fixture logs while the capture of the test's body ends.
TEST(LogCaptureTest, ThreadMayLogWhileACaptureEnds) {
  std::atomic<bool> stop = false;
  const LogCapture outer;
  std::thread thread([&] {
    while (!stop) spdlog::info("a line");
  });
  for (int i = 0; i < 2000; ++i) {
    const LogCapture log;
    spdlog::info("an own line");
    EXPECT_EQ(log.Count("an own line"), 1);
  }
  stop = true;
  thread.join();
  EXPECT_EQ(outer.Count("an own line"), 0);
}

}  // namespace
}  // namespace trunkline::test
