// Tests how the controller starts from its state file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/controller_settings.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/loop/control_loop.h"
#include "controller/loop/state_lock.h"
#include "controller/loop/state_store.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

class LoadLoopOptionsTest : public testing::Test {
 protected:
  LoadLoopOptionsTest() { settings_.state_file = folder_.File("state"); }

  absl::StatusOr<ControlLoop::Options> Load(const StateStore& store) {
    lock_.reset();
    return LoadLoopOptions(settings_, store, &lock_);
  }
  static absl::Status DiskFull(const std::string&, std::string_view) {
    return absl::ResourceExhaustedError("write state.tmp: No space left on device");
  }

  const test::ScratchFolder folder_;
  ControllerSettings settings_;
  std::optional<StateLock> lock_;
};

TEST_F(LoadLoopOptionsTest, OrderlyStopContinuesItsEpochAndTheFileSaysThatAStartFollowed) {
  const StateStore store(settings_.state_file);
  ASSERT_TRUE(store.Save({.epoch = 7, .version = 3, .orderly = true}).ok());
  const auto options = Load(store);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->core.first, (SnapshotVersion{7, 4}));
  EXPECT_FALSE((*store.Load())->orderly);
}

TEST_F(LoadLoopOptionsTest, FullDiskStartsInAnEpochOfItsOwn) {
  const StateStore store(settings_.state_file);
  const uint64_t far = 1ull << 40;  // seconds: beyond any clock
  ASSERT_TRUE(store.Save({.epoch = far, .version = 3, .orderly = true}).ok());
  const auto options = Load(StateStore(settings_.state_file, DiskFull));
  ASSERT_TRUE(options.ok()) << options.status();
  // The file still says that the stop was orderly, so {far, 4} may be given again.
  EXPECT_EQ(options->core.first, (SnapshotVersion{far + 1, 1}));
}

TEST_F(LoadLoopOptionsTest, FileThatCannotBeWrittenForAnotherReasonStopsTheStart) {
  const StateStore store(settings_.state_file, [](const std::string&, std::string_view) {
    return absl::PermissionDeniedError("create state.tmp: Permission denied");
  });
  const absl::Status status = Load(store).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("state_file"));
}

TEST_F(LoadLoopOptionsTest, ConfiguredClusterIsWrittenIntoTheState) {
  settings_.cluster_id = "production";
  const StateStore store(settings_.state_file);
  const auto options = Load(store);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ((*store.Load())->cluster_id, "production");
  EXPECT_EQ(options->cluster_id, "production");
}

}  // namespace
}  // namespace trunkline
