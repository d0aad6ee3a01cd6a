#include "agent/sample/cgroup_place.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "agent/sample/cgroup_search.h"
#include "common/base/system_files.h"
#include "common/cgroup/cgroup_files.h"
#include "tests/agent/fixture_root.h"
#include "tests/agent/testdata.h"

namespace trunkline {
namespace {

constexpr char kRoot[] = "/sys/fs/cgroup";

TEST(CgroupPlaceTest, Version1WithSeparateMounts) {
  const SystemFiles files(TestdataPath("linux-6.18-hybrid"));
  const auto place = CgroupPlace::OfProcess(files, kRoot, "32321");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_STREQ(place->version(), "cgroup v1");
  EXPECT_DOUBLE_EQ(place->CpuQuota(files), 0.5);
  EXPECT_DOUBLE_EQ(*place->CpuSeconds(files), 1.569017240);
  EXPECT_DOUBLE_EQ(place->CpusetCores(files), 1);
  EXPECT_DOUBLE_EQ(*place->MemoryUtilization(files), (16437248.0 - 53248) / 134217728);
  EXPECT_EQ(place->pressure_directory(), "/sys/fs/cgroup/unified/tlrec/meterstore");
}

TEST(CgroupPlaceTest, Version1InNestedGroups) {
  const SystemFiles files(TestdataPath("linux-6.1-v1"));
  const auto place = CgroupPlace::OfProcess(files, kRoot, "109");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_DOUBLE_EQ(place->CpuQuota(files), 0.8);
  EXPECT_DOUBLE_EQ(*place->CpuSeconds(files), 2.518376138);
  EXPECT_DOUBLE_EQ(*place->MemoryUtilization(files), 21151744.0 / 268435456);
}

TEST(CgroupPlaceTest, FullestMemoryLevelCounts) {
  // Own group: (734003200 - 209715200) / 1 GiB = 0.488; its parent: (1503238553 - 214748364) / 2
  // GiB = 0.6.
  const SystemFiles files(TestdataPath("linux-4.19-v1"));
  const auto place = CgroupPlace::OfProcess(files, kRoot, "1734");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_NEAR(*place->MemoryUtilization(files), 0.6, 1e-9);
  EXPECT_EQ(place->CpuQuota(files), kNoLimit);
}

TEST(CgroupPlaceTest, TightestQuotaOfTheAncestorsCounts) {
  // app.service may use 2 cores, batch.slice above it 0.5.
  const SystemFiles files(TestdataPath("linux-6.1-v2"));
  const auto place = CgroupPlace::OfProcess(files, kRoot, "100");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_STREQ(place->version(), "cgroup v2");
  EXPECT_DOUBLE_EQ(place->CpuQuota(files), 0.5);
  EXPECT_DOUBLE_EQ(*place->CpuSeconds(files), 1.769236);
}

TEST(CgroupPlaceTest, ThrottlingIsThatOfEachLevelWithAQuota) {
  const SystemFiles v2(TestdataPath("linux-6.1-v2"));
  auto throttling = CgroupPlace::OfProcess(v2, kRoot, "100")->Throttling(v2);
  ASSERT_EQ(throttling.size(), 2u) << "the root has no quota";
  EXPECT_EQ(throttling.at("/sys/fs/cgroup/batch.slice").throttled_periods, 12);
  EXPECT_EQ(throttling.at("/sys/fs/cgroup/batch.slice/app.service").throttled_periods, 0);

  const SystemFiles v1(TestdataPath("linux-6.18-hybrid"));
  throttling = CgroupPlace::OfProcess(v1, kRoot, "32321")->Throttling(v1);
  ASSERT_EQ(throttling.size(), 1u);
  EXPECT_EQ(throttling.at("/sys/fs/cgroup/cpu/tlrec/meterstore").throttled_periods, 31);
}

TEST(CgroupPlaceTest, GroupWithoutQuotaHasNoThrottling) {
  const SystemFiles files(TestdataPath("linux-4.19-v1"));
  EXPECT_TRUE(CgroupPlace::OfProcess(files, kRoot, "1734")->Throttling(files).empty());
}

TEST(CgroupPlaceTest, GroupWithoutAnyMemoryLimitHasNoUtilization) {
  FixtureRoot root("linux-6.1-v2");
  root.Write("/sys/fs/cgroup/batch.slice/memory.max", "max\n");
  const SystemFiles files(root.path());
  const auto place = CgroupPlace::OfProcess(files, kRoot, "100");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_TRUE(absl::IsNotFound(place->MemoryUtilization(files).status()));
}

TEST(CgroupPlaceTest, UseAccountedInAnotherGroupThanTheLimitIsIgnored) {
  FixtureRoot root("linux-6.18-hybrid");
  root.Write("/proc/32321/cgroup", "4:memory:/\n2:cpuacct:/\n1:cpu:/tlrec/meterstore\n0::/\n");
  const SystemFiles files(root.path());
  const auto place = CgroupPlace::OfProcess(files, kRoot, "32321");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_DOUBLE_EQ(place->CpuQuota(files), 0.5);
  EXPECT_TRUE(absl::IsNotFound(place->CpuSeconds(files).status()));
}

TEST(CgroupPlaceTest, ConfiguredPathIsFoundBelowEachMount) {
  const SystemFiles files(TestdataPath("linux-6.18-hybrid"));
  const auto place = CgroupPlace::OfPath(files, kRoot, "tlrec/meterstore");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_DOUBLE_EQ(place->CpuQuota(files), 0.5);
  const auto wrong = CgroupPlace::OfPath(files, kRoot, "/tlrec/other");
  EXPECT_TRUE(absl::IsNotFound(wrong.status()));
  EXPECT_NE(wrong.status().message().find("tlrec/other"), std::string::npos);
}

TEST(CgroupPlaceTest, GroupIsEmptyIfNoProcessIsInItOrBelow) {
  FixtureRoot root("linux-6.18-hybrid");
  const SystemFiles files(root.path());
  const auto place = CgroupPlace::OfPath(files, kRoot, "tlrec/meterstore");
  ASSERT_TRUE(place.ok()) << place.status();
  const std::string group = "/sys/fs/cgroup/cpu/tlrec/meterstore";
  EXPECT_EQ(place->Empty(files), std::nullopt) << "the recorded tree has no cgroup.procs";
  root.Write(group + "/cgroup.procs", "");
  EXPECT_EQ(place->Empty(files), true);
  root.Write(group + "/a/cgroup.procs", "");
  root.Write(group + "/a/b/cgroup.procs", "70\n");
  EXPECT_EQ(place->Empty(files), false);
  root.Write(group + "/a/b/cgroup.procs", "");
  EXPECT_EQ(place->Empty(files), true);
  for (int i = 0; i < CgroupPlace::kMaxGroupsBelow; ++i) {
    root.Write(group + "/n" + std::to_string(i) + "/cgroup.procs", "");
  }
  EXPECT_EQ(place->Empty(files), std::nullopt) << "the search is bounded";
}

class SidecarTest : public testing::Test {
 protected:
  // The agent's container sees the server's process and, at /host, the host's groups.
  SidecarTest() : root_("linux-6.1-v2-sidecar"), files_(root_.path()) {
    root_.Copy("linux-6.1-v2/sys/fs/cgroup", "/host");
    root_.Write("/sys/fs/cgroup/cpu.stat", "usage_usec 5\n");
  }

  FixtureRoot root_;
  SystemFiles files_;
};

TEST_F(SidecarTest, GroupOfAnotherContainerIsFoundByName) {
  const auto place = CgroupPlace::OfProcess(files_, "/host", "99");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->directory(),
            std::string("/host/system.slice/docker-") + kContainerId + ".scope");
  EXPECT_DOUBLE_EQ(place->CpuQuota(files_), 1.5);
  EXPECT_DOUBLE_EQ(*place->MemoryUtilization(files_), 21037056.0 / 268435456);
}

TEST_F(SidecarTest, OwnGroupIsTheNamespacesRootNotTheHosts) {
  const auto place = CgroupPlace::OfProcess(files_, "/host", "self");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->directory(), "/sys/fs/cgroup");
}

TEST_F(SidecarTest, ErrorOfAMissingGroupNamesTheRemedy) {
  root_.Write("/proc/99/cgroup", "0::/../docker-unknown.scope\n");
  const auto place = CgroupPlace::OfProcess(files_, "/host", "99");
  ASSERT_TRUE(absl::IsNotFound(place.status())) << place.status();
  EXPECT_NE(place.status().message().find("docker-unknown.scope"), std::string::npos);
  EXPECT_NE(place.status().message().find("cgroup_path"), std::string::npos);
}

TEST_F(SidecarTest, TwoGroupsOfOneNameAreAmbiguous) {
  root_.Write("/host/a.slice/app/cpu.max", "max 100000\n");
  root_.Write("/host/b.slice/app/cpu.max", "max 100000\n");
  root_.Write("/proc/99/cgroup", "0::/../../app\n");
  EXPECT_TRUE(absl::IsFailedPrecondition(CgroupPlace::OfProcess(files_, "/host", "99").status()));
  // With the name of its parent it is unambiguous.
  root_.Write("/proc/99/cgroup", "0::/../../a.slice/app\n");
  const auto place = CgroupPlace::OfProcess(files_, "/host", "99");
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->directory(), "/host/a.slice/app");
}

TEST_F(SidecarTest, SearchGoesNoDeeperThanItsBound) {
  std::string deep = "/host";
  for (int i = 0; i <= kMaxCgroupSearchDepth; ++i) deep += "/d";
  root_.Write(deep + "/buried/cpu.max", "max 100000\n");
  EXPECT_TRUE(absl::IsNotFound(SearchCgroup(files_, "/host", "/../buried").status()));
}

}  // namespace
}  // namespace trunkline
