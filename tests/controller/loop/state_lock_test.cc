#include "controller/loop/state_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/atomic_file.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class StateLockTest : public testing::Test {
 protected:
  const test::ScratchFolder folder_;
  const std::string state_ = folder_.File("state");
};

TEST_F(StateLockTest, SecondTakerIsRefusedUntilTheFirstIsGone) {
  absl::StatusOr<StateLock> first = StateLock::Take(state_);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = StateLock::Take(state_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second));
  EXPECT_THAT(std::string(second.message()), HasSubstr(state_ + ": another controller uses it"));
  first = absl::UnknownError("released");
  EXPECT_TRUE(StateLock::Take(state_).ok());
}

TEST_F(StateLockTest, ClusterIdIsKeptAndReplacedWhole) {
  {
    absl::StatusOr<StateLock> lock = StateLock::Take(state_);
    ASSERT_TRUE(lock.ok()) << lock.status();
    EXPECT_THAT(lock->cluster_id(), IsEmpty());
    ASSERT_TRUE(lock->SetClusterId("a-long-name").ok());
    ASSERT_TRUE(lock->SetClusterId("short").ok());
  }
  EXPECT_EQ(*ReadFile(state_ + ".lock"), "short\n");
  EXPECT_EQ(StateLock::Take(state_)->cluster_id(), "short");
}

TEST_F(StateLockTest, DamagedIdCountsAsUnknown) {
  folder_.Write("state.lock", std::string("\0\0\0", 3));
  absl::StatusOr<StateLock> lock = StateLock::Take(state_);
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_THAT(lock->cluster_id(), IsEmpty());
}

TEST_F(StateLockTest, FolderThatDoesNotExistIsNamed) {
  const absl::Status status = StateLock::Take(folder_.File("no/such/state")).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("no/such/state.lock"));
}

// The id for a configured, a stored and a locked one.
absl::StatusOr<std::string> Choose(const std::string& configured, const std::string& stored,
                                   const std::string& locked) {
  return ChooseClusterId("/var/state", configured, stored, locked);
}

TEST(ChooseClusterIdTest, FirstKnownIdIsUsedAndOtherwiseOneIsGenerated) {
  EXPECT_EQ(*Choose("a", "", ""), "a");
  EXPECT_EQ(*Choose("", "b", "b"), "b");
  EXPECT_EQ(*Choose("", "b", ""), "b") << "moved without its lock file";
  EXPECT_EQ(*Choose("", "", "c"), "c") << "started anew without its state file";
  EXPECT_THAT(*Choose("", "", ""), StartsWith("generated-"));
  EXPECT_NE(*Choose("", "", ""), *Choose("", "", ""));
}

TEST(ChooseClusterIdTest, NameReplacesAGeneratedIdOfTheSameCluster) {
  EXPECT_EQ(*Choose("a", "generated-1", "generated-1"), "a");
  EXPECT_EQ(*Choose("a", "generated-1", ""), "a");
  EXPECT_EQ(*Choose("a", "a", "generated-1"), "a") << "a crash came before the lock file";
}

TEST(ChooseClusterIdTest, StateOfAnotherClusterIsRefused) {
  for (const auto& [configured, stored, locked] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"", "b", "c"},
           {"", "generated-1", "generated-2"},
           {"a", "generated-1", "a"},
           {"a", "b", ""},
           {"a", "b", "b"},
           {"a", "b", "a"}}) {
    const absl::Status refused = Choose(configured, stored, locked).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused))
        << configured << " " << stored << " " << locked;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("state of cluster \"" + stored + "\""));
  }
}

}  // namespace
}  // namespace trunkline
