// A password file is one line of a regular file; nothing of another file gets out.
#include "dataplane/control/password_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "absl/status/statusor.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class PasswordFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Read(const std::string& content) {
    return ReadPasswordFile(folder_.Write("secret", content));
  }
  static std::string FaultOf(const absl::StatusOr<std::string>& password) {
    EXPECT_FALSE(password.ok());
    return std::string(password.status().message());
  }

  const test::ScratchFolder folder_;
  const std::string path_ = folder_.File("secret");
};

TEST_F(PasswordFileTest, LineIsReadWithoutItsEnd) {
  EXPECT_EQ(Read("secret").value(), "secret");
  EXPECT_EQ(Read("secret\n").value(), "secret");
  EXPECT_EQ(Read("secret\r\n").value(), "secret");
  EXPECT_EQ(Read(" se\tcret ").value(), " se\tcret ");
  EXPECT_EQ(Read(std::string(kMaxPasswordBytes, 'x') + "\r\n")->size(), kMaxPasswordBytes);
}

TEST_F(PasswordFileTest, MissingOrEmptyFileIsNamedWithTheRemedy) {
  EXPECT_THAT(FaultOf(ReadPasswordFile(path_)),
              AllOf(HasSubstr(path_), HasSubstr("No such file"), HasSubstr("put the password")));
  for (const char* content : {"", "\n", "\r\n"}) {
    EXPECT_THAT(FaultOf(Read(content)), AllOf(HasSubstr(path_), HasSubstr("it is empty")));
  }
}

TEST_F(PasswordFileTest, OtherFilesAreRefusedAndNotRepeated) {
  for (const std::string& content :
       {std::string("-----BEGIN\nopensesame\n"), std::string("opensesame\n\n"),
        std::string("a\ropensesame"), "opensesame" + std::string(kMaxPasswordBytes, 'x')}) {
    EXPECT_THAT(FaultOf(Read(content)),
                AllOf(HasSubstr("expected one line"), Not(HasSubstr("opensesame"))));
  }
}

TEST_F(PasswordFileTest, NothingButARegularFileIsRead) {
  EXPECT_THAT(FaultOf(ReadPasswordFile(folder_.path())), HasSubstr("no regular file"));
  EXPECT_THAT(FaultOf(ReadPasswordFile("/dev/zero")), HasSubstr("no regular file"));
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(FaultOf(ReadPasswordFile(path_)), HasSubstr("no regular file"));
}

}  // namespace
}  // namespace trunkline
