#include "common/cgroup/cgroup_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/agent/testdata.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;

std::vector<CgroupMount> Mounts(const std::string& tree) {
  auto mounts = ParseCgroupMounts(Testdata(tree + "/proc/self/mountinfo"));
  EXPECT_TRUE(mounts.ok()) << mounts.status();
  return mounts.value_or(std::vector<CgroupMount>());
}

std::vector<CgroupMembership> Membership(const std::string& tree, const std::string& pid) {
  auto memberships = ParseCgroupMembership(Testdata(tree + "/proc/" + pid + "/cgroup"));
  EXPECT_TRUE(memberships.ok()) << memberships.status();
  return memberships.value_or(std::vector<CgroupMembership>());
}

// Returns the first mount of a controller below `below`, or nullptr.
const CgroupMount* FindCgroupMount(const std::vector<CgroupMount>& mounts,
                                   const std::string& controller, const std::string& below) {
  const auto found = FindCgroupMounts(mounts, controller, below);
  return found.empty() ? nullptr : found.front();
}

TEST(CgroupPathsTest, SeparateVersion1ControllersBesideVersion2) {
  const auto mounts = Mounts("linux-6.18-hybrid");
  const auto process = Membership("linux-6.18-hybrid", "32321");
  const CgroupMount* cpu = FindCgroupMount(mounts, "cpu", "/sys/fs/cgroup");
  ASSERT_NE(cpu, nullptr);
  EXPECT_EQ(cpu->mount_point, "/sys/fs/cgroup/cpu");
  EXPECT_THAT(cpu->controllers, ElementsAre("cpu"));
  EXPECT_EQ(*FindCgroupPath(process, "cpu"), "/tlrec/meterstore");
  EXPECT_EQ(*FindCgroupPath(process, "blkio"), "/");
  EXPECT_EQ(*FindCgroupPath(process, ""), "/tlrec/meterstore");
  EXPECT_EQ(FindCgroupMount(mounts, "", "/sys/fs/cgroup")->mount_point, "/sys/fs/cgroup/unified");
  EXPECT_EQ(*CgroupDirectory(*cpu, "/tlrec/meterstore"), "/sys/fs/cgroup/cpu/tlrec/meterstore");
}

TEST(CgroupPathsTest, JoinedVersion1Controllers) {
  for (const char* tree : {"linux-6.1-v1", "linux-4.19-v1"}) {
    const auto mounts = Mounts(tree);
    const CgroupMount* cpu = FindCgroupMount(mounts, "cpu", "/sys/fs/cgroup");
    ASSERT_NE(cpu, nullptr) << tree;
    EXPECT_EQ(cpu, FindCgroupMount(mounts, "cpuacct", "/sys/fs/cgroup")) << tree;
    EXPECT_EQ(cpu->mount_point, "/sys/fs/cgroup/cpu,cpuacct") << tree;
  }
}

TEST(CgroupPathsTest, NamedHierarchyServesNoController) {
  const auto mounts = Mounts("linux-6.1-v1");
  for (const CgroupMount& mount : mounts) {
    if (mount.mount_point == "/sys/fs/cgroup/systemd") {
      EXPECT_THAT(mount.controllers, ElementsAre());
    }
  }
  const auto process = Membership("linux-6.1-v1", "109");
  // Hierarchy 5 is name=systemd; its path must not pass for that of version 2.
  EXPECT_EQ(*FindCgroupPath(process, ""), "/");
}

TEST(CgroupPathsTest, Version2Alone) {
  const auto mounts = Mounts("linux-6.1-v2");
  const auto process = Membership("linux-6.1-v2", "99");
  EXPECT_EQ(FindCgroupMount(mounts, "cpu", "/sys/fs/cgroup"), nullptr);
  const CgroupMount* mount = FindCgroupMount(mounts, "", "/sys/fs/cgroup");
  ASSERT_NE(mount, nullptr);
  EXPECT_EQ(*CgroupDirectory(*mount, *FindCgroupPath(process, "")),
            std::string("/sys/fs/cgroup/system.slice/docker-") + kContainerId + ".scope");
  EXPECT_EQ(*CgroupDirectory(*mount, "/"), "/sys/fs/cgroup");
}

TEST(CgroupPathsTest, PathOfAnotherContainersGroupHasNoDirectory) {
  const auto mounts = Mounts("linux-6.1-v2-sidecar");
  const auto server = Membership("linux-6.1-v2-sidecar", "99");
  const CgroupMount* host = FindCgroupMount(mounts, "", "/host");
  ASSERT_NE(host, nullptr);
  EXPECT_EQ(host->mount_point, "/host");
  const std::string* path = FindCgroupPath(server, "");
  EXPECT_EQ(*path, std::string("/../docker-") + kContainerId + ".scope");
  EXPECT_EQ(CgroupDirectory(*host, *path), std::nullopt);
  // The agent's own group is "/" in its namespace, but not the mount point of a mount that starts
  // above the group.
  EXPECT_EQ(CgroupDirectory(*host, "/"), std::nullopt);
  EXPECT_EQ(*CgroupDirectory(*FindCgroupMount(mounts, "", "/sys/fs/cgroup"), "/"),
            "/sys/fs/cgroup");
}

TEST(CgroupPathsTest, ContainerWithoutNamespaceHasItsGroupAsMountRoot) {
  const CgroupMount mount{.v2 = false,
                          .controllers = {"memory"},
                          .root = "/docker/abc",
                          .mount_point = "/sys/fs/cgroup/memory"};
  EXPECT_EQ(*CgroupDirectory(mount, "/docker/abc"), "/sys/fs/cgroup/memory");
  EXPECT_EQ(*CgroupDirectory(mount, "/docker/abc/child"), "/sys/fs/cgroup/memory/child");
  EXPECT_EQ(CgroupDirectory(mount, "/docker/abcd"), std::nullopt);
  EXPECT_EQ(CgroupDirectory(mount, "/"), std::nullopt);
}

TEST(CgroupPathsTest, MountsOutsideTheRootAreNotUsed) {
  const auto mounts = Mounts("linux-6.1-v2");
  EXPECT_EQ(FindCgroupMount(mounts, "", "/sys/fs/cgro"), nullptr);
  EXPECT_EQ(FindCgroupMount(mounts, "", "/host"), nullptr);
}

TEST(CgroupPathsTest, EscapedMountPointIsReadable) {
  const auto mounts =
      ParseCgroupMounts("25 23 0:22 / /my\\040groups rw - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  EXPECT_EQ((*mounts)[0].mount_point, "/my groups");
}

TEST(CgroupPathsTest, TruncatedLinesAreErrors) {
  EXPECT_FALSE(ParseCgroupMounts("25 23 0:22 / /sys/fs/cgroup rw\n").ok());
  EXPECT_FALSE(ParseCgroupMounts("25 23 0:22 / - cgroup2 cgroup2 rw\n").ok());
  EXPECT_FALSE(ParseCgroupMounts("25 23 0:22 / /x rw - cgroup2 cgroup2\n").ok());
  EXPECT_FALSE(ParseCgroupMembership("").ok());
  EXPECT_FALSE(ParseCgroupMembership("0:/x\n").ok());
  EXPECT_FALSE(ParseCgroupMembership("x::/x\n").ok());
  EXPECT_FALSE(ParseCgroupMembership("0::relative\n").ok());
}

TEST(CgroupPathsTest, PathMayContainAColonAndARemovedGroupKeepsItsName) {
  const auto memberships = ParseCgroupMembership("0::/user.slice/a:b (deleted)\n");
  ASSERT_TRUE(memberships.ok()) << memberships.status();
  EXPECT_EQ((*memberships)[0].path, "/user.slice/a:b");
}

}  // namespace
}  // namespace trunkline
