#include "common/base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

TEST(AtomicFileTest, WrittenContentIsReadBack) {
  test::ScratchFolder folder;
  std::string content(200'000, 'x');
  content[7] = '\0';
  ASSERT_TRUE(WriteFileAtomically(folder.File("state"), content).ok());
  EXPECT_EQ(*ReadFile(folder.File("state")), content);
}

TEST(AtomicFileTest, ShorterContentReplacesTheOldAndLeavesNoTemporaryFile) {
  test::ScratchFolder folder;
  ASSERT_TRUE(WriteFileAtomically(folder.File("state"), "a long first version").ok());
  ASSERT_TRUE(WriteFileAtomically(folder.File("state"), "v2").ok());
  EXPECT_EQ(*ReadFile(folder.File("state")), "v2");
  EXPECT_EQ(folder.CountFiles(), 1u);
}

TEST(AtomicFileTest, ReaderThatOpenedTheOldFileKeepsAllOfIt) {
  test::ScratchFolder folder;
  const std::string path = folder.Write("state", "old");
  std::ifstream reader(path);
  ASSERT_TRUE(WriteFileAtomically(path, "new").ok());
  std::string seen;
  reader >> seen;
  EXPECT_EQ(seen, "old");
}

TEST(AtomicFileTest, TemporaryFileOfACrashIsReused) {
  test::ScratchFolder folder;
  folder.Write("state.tmp", "half of a ver");
  ASSERT_TRUE(WriteFileAtomically(folder.File("state"), "whole").ok());
  EXPECT_EQ(*ReadFile(folder.File("state")), "whole");
  EXPECT_EQ(folder.CountFiles(), 1u);
}

TEST(AtomicFileTest, FailedWriteKeepsTheOldFileAndNamesThePath) {
  test::ScratchFolder folder;
  const std::string path = folder.File("missing/state");
  const absl::Status status = WriteFileAtomically(path, "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));

  // A folder cannot be replaced by a file.
  std::filesystem::create_directories(folder.File("taken/inner"));
  EXPECT_FALSE(WriteFileAtomically(folder.File("taken"), "x").ok());
  EXPECT_FALSE(std::filesystem::exists(folder.File("taken.tmp")));
}

TEST(AtomicFileTest, SymbolicLinkInPlaceOfTheTemporaryFileIsNotFollowed) {
  test::ScratchFolder folder;
  const std::string victim = folder.Write("victim", "precious");
  std::filesystem::create_symlink(victim, folder.File("state.tmp"));
  EXPECT_FALSE(WriteFileAtomically(folder.File("state"), "x").ok());
  EXPECT_EQ(*ReadFile(victim), "precious");
}

TEST(AtomicFileTest, MissingFileIsNotFound) {
  const auto content = ReadFile("/nonexistent/file");
  EXPECT_EQ(content.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(content.status().message()), HasSubstr("/nonexistent/file"));
}

TEST(AtomicFileTest, FolderIsNotReadAsAFile) {
  test::ScratchFolder folder;
  EXPECT_FALSE(ReadFile(folder.File("")).ok());
}

}  // namespace
}  // namespace trunkline
