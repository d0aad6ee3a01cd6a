#include "common/observe/log_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "tests/common/base/full_pipe.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr size_t kLineBytes = 10;
constexpr size_t kRoomForThree = 3 * kLineBytes;

class LogWriterTest : public testing::Test {
 protected:
  // A line of kLineBytes.
  static std::string Line(int number) { return absl::StrCat("line ", 1000 + number, "\n"); }

  std::unique_ptr<LogWriter> Writer(int fd) {
    return std::make_unique<LogWriter>(
        fd, kRoomForThree, [](uint64_t count) { return absl::StrCat(count, " dropped\n"); });
  }

  test::FullPipe pipe_;
};

TEST_F(LogWriterTest, LinesArriveInOrder) {
  const test::ScratchFolder folder;
  const std::string path = folder.File("log");
  const UniqueFd file(open(path.c_str(), O_CREAT | O_RDWR, 0600));
  const auto writer = Writer(file.get());
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    writer->Write(Line(i));
    expected += Line(i);
    ASSERT_TRUE(writer->Flush());
  }
  std::string written(expected.size() + 1, ' ');
  written.resize(static_cast<size_t>(pread(file.get(), written.data(), written.size(), 0)));
  EXPECT_EQ(written, expected);
  EXPECT_EQ(writer->dropped(), 0);
}

TEST_F(LogWriterTest, FullPipeDropsTheOldestLinesAndBlocksNoCaller) {
  const auto writer = Writer(pipe_.write_end());
  for (int i = 0; i < 100; ++i) writer->Write(Line(i));
  EXPECT_FALSE(writer->Flush());
  // Three are queued, and the thread is stuck with one at most.
  EXPECT_GE(writer->dropped(), 96);
  EXPECT_LE(writer->dropped(), 97);

  const std::string text = pipe_.DrainUntil(Line(99));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(writer->dropped(), " dropped\n")));
  EXPECT_THAT(text, EndsWith(Line(97) + Line(98) + Line(99)));
}

TEST_F(LogWriterTest, NoticeIsWrittenOnce) {
  const auto writer = Writer(pipe_.write_end());
  for (int i = 0; i < 100; ++i) writer->Write(Line(i));
  pipe_.DrainUntil(Line(99));
  writer->Write(Line(100));
  ASSERT_TRUE(writer->Flush());
  EXPECT_EQ(pipe_.DrainUntil(Line(100)), Line(100));
}

TEST_F(LogWriterTest, DestructionDoesNotWaitForAFullPipe) {
  auto writer = Writer(pipe_.write_end());
  writer->Write(Line(1));
  writer.reset();
  // The line was not lost.
  EXPECT_EQ(pipe_.DrainUntil(Line(1)), Line(1));
}

TEST_F(LogWriterTest, LineIsDroppedIfTheReaderIsGone) {
  signal(SIGPIPE, SIG_IGN);
  pipe_.CloseReader();
  const auto writer = Writer(pipe_.write_end());
  writer->Write(Line(1));
  EXPECT_TRUE(writer->Flush());
  EXPECT_EQ(writer->dropped(), 1);
}

TEST_F(LogWriterTest, DescriptorThatAnotherProcessMadeNonBlockingLosesNothing) {
  fcntl(pipe_.write_end(), F_SETFL, O_NONBLOCK);
  const auto writer = Writer(pipe_.write_end());
  writer->Write(Line(1));
  EXPECT_FALSE(writer->Flush());
  EXPECT_EQ(pipe_.DrainUntil(Line(1)), Line(1));
  EXPECT_EQ(writer->dropped(), 0);
}

TEST_F(LogWriterTest, LineLargerThanTheQueueIsDropped) {
  const auto writer = Writer(pipe_.write_end());
  writer->Write(std::string(kRoomForThree + 1, 'x') + "\n");
  EXPECT_EQ(writer->dropped(), 1);
}

TEST_F(LogWriterTest, StopSignalIsLeftToTheThreadsOfTheProgram) {
  // The mask of this thread is inherited by a thread that starts with it. The writer's thread has
  // all signals blocked, so a signal to the process stays pending while this thread blocks it.
  sigset_t usr1, before;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  const auto writer = Writer(pipe_.write_end());
  pthread_sigmask(SIG_BLOCK, &usr1, &before);
  kill(getpid(), SIGUSR1);
  int received = 0;
  EXPECT_EQ(sigwait(&usr1, &received), 0);
  EXPECT_EQ(received, SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace trunkline
