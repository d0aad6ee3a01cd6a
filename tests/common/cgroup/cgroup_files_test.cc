#include "common/cgroup/cgroup_files.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "tests/agent/testdata.h"

namespace trunkline {
namespace {

const std::string kV2Group =
    std::string("linux-6.1-v2/sys/fs/cgroup/system.slice/docker-") + kContainerId + ".scope/";
const std::string kV1Cpu = "linux-6.18-hybrid/sys/fs/cgroup/cpu/";

TEST(CgroupCpuTest, QuotaOfEitherVersionIsCores) {
  EXPECT_DOUBLE_EQ(*ParseCpuMax(Testdata(kV2Group + "cpu.max")), 1.5);
  EXPECT_DOUBLE_EQ(*ParseCfsQuota(Testdata(kV1Cpu + "tlrec/meterstore/cpu.cfs_quota_us"),
                                  Testdata(kV1Cpu + "tlrec/meterstore/cpu.cfs_period_us")),
                   0.5);
}

TEST(CgroupCpuTest, MissingQuotaIsNoLimit) {
  EXPECT_EQ(*ParseCpuMax("max 100000\n"), kNoLimit);
  EXPECT_EQ(
      *ParseCfsQuota(Testdata(kV1Cpu + "cpu.cfs_quota_us"), Testdata(kV1Cpu + "cpu.cfs_period_us")),
      kNoLimit);
}

TEST(CgroupCpuTest, ZeroOrMissingNumbersAreErrors) {
  for (const char* text : {"", "100000 0", "0 100000", "a 1", "1 2 3", "-5 100000"}) {
    EXPECT_FALSE(ParseCpuMax(text).ok()) << text;
  }
  EXPECT_FALSE(ParseCfsQuota("-2", "100000").ok());
  EXPECT_FALSE(ParseCfsQuota("50000", "").ok());
}

TEST(CgroupCpuTest, UsageOfEitherVersionIsSeconds) {
  EXPECT_DOUBLE_EQ(*ParseCpuStatSeconds(Testdata(kV2Group + "cpu.stat")), 1.561731);
  EXPECT_DOUBLE_EQ(*ParseCpuacctSeconds(Testdata(
                       "linux-6.18-hybrid/sys/fs/cgroup/cpuacct/tlrec/meterstore/cpuacct.usage")),
                   1.569017240);
  // The cpu.stat of version 1 has no usage.
  EXPECT_TRUE(absl::IsNotFound(
      ParseCpuStatSeconds(Testdata(kV1Cpu + "tlrec/meterstore/cpu.stat")).status()));
}

TEST(CgroupCpuTest, ThrottlingOfEitherVersionIsSeconds) {
  const auto v1 = ParseCpuThrottling(Testdata(kV1Cpu + "tlrec/meterstore/cpu.stat"));
  ASSERT_TRUE(v1.ok()) << v1.status();
  EXPECT_EQ(v1->periods, 32);
  EXPECT_EQ(v1->throttled_periods, 31);
  EXPECT_DOUBLE_EQ(v1->throttled_seconds, 1.547486274);
  const auto v2 = ParseCpuThrottling(Testdata("linux-6.1-v2/sys/fs/cgroup/batch.slice/cpu.stat"));
  ASSERT_TRUE(v2.ok()) << v2.status();
  EXPECT_EQ(v2->periods, 36);
  EXPECT_EQ(v2->throttled_periods, 12);
  EXPECT_DOUBLE_EQ(v2->throttled_seconds, 0.063);
}

TEST(CgroupCpuTest, ThrottlingOfAGroupWithoutCpuControllerIsUnknownAndNotZero) {
  EXPECT_TRUE(absl::IsNotFound(
      ParseCpuThrottling(Testdata("linux-6.18-hybrid/sys/fs/cgroup/unified/tlrec/cpu.stat"))
          .status()));
  EXPECT_FALSE(ParseCpuThrottling("nr_periods 1\nnr_throttled 1\n").ok());
  EXPECT_FALSE(ParseCpuThrottling("nr_periods 1\nnr_throttled 1\nthrottled_usec x\n").ok());
  EXPECT_FALSE(ParseCpuThrottling("nr_periods 1\nthrottled_usec 1\n").ok());
}

TEST(CgroupMemoryTest, MaxAndTheHugeNumberOfVersion1AreNoLimit) {
  EXPECT_EQ(*ParseMemoryLimit("max\n"), kNoLimit);
  EXPECT_EQ(
      *ParseMemoryLimit(Testdata("linux-6.18-hybrid/sys/fs/cgroup/memory/memory.limit_in_bytes")),
      kNoLimit);
  // With pages of 64 KiB the kernel writes another number.
  EXPECT_EQ(*ParseMemoryLimit("9223372036854710272\n"), kNoLimit);
  EXPECT_DOUBLE_EQ(*ParseMemoryLimit(Testdata(kV2Group + "memory.max")), 268435456.0);
}

TEST(CgroupMemoryTest, InactiveFileCoversTheSubtree) {
  const std::string group = "linux-4.19-v1/sys/fs/cgroup/memory/system.slice/meterstore.service/";
  EXPECT_DOUBLE_EQ(*ParseInactiveFile(Testdata(group + "memory.stat")), 209715200.0);
  EXPECT_DOUBLE_EQ(*ParseInactiveFile(Testdata(
                       "linux-6.18-hybrid/sys/fs/cgroup/memory/tlrec/meterstore/memory.stat")),
                   53248.0);
  EXPECT_DOUBLE_EQ(*ParseInactiveFile("anon 1\ninactive_file 4096\n"), 4096.0);
  EXPECT_FALSE(ParseInactiveFile("anon 1\n").ok());
  EXPECT_FALSE(ParseInactiveFile("inactive_file x\n").ok());
}

TEST(CgroupMemoryTest, AnonymousMemoryCoversTheSubtree) {
  const std::string group = "linux-4.19-v1/sys/fs/cgroup/memory/system.slice/meterstore.service/";
  EXPECT_DOUBLE_EQ(*ParseAnonymous(Testdata(group + "memory.stat")), 419430400.0);
  EXPECT_DOUBLE_EQ(*ParseAnonymous("anon 12288\nfile 4096\n"), 12288.0);
  EXPECT_FALSE(ParseAnonymous("file 4096\n").ok());
}

TEST(CgroupMemoryTest, UsageIsANumber) {
  EXPECT_DOUBLE_EQ(*ParseMemoryUsage(Testdata(kV2Group + "memory.current")), 21037056.0);
  EXPECT_FALSE(ParseMemoryUsage("").ok());
}

}  // namespace
}  // namespace trunkline
