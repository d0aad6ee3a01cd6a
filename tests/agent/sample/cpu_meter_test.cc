#include "agent/sample/cpu_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/system_files.h"
#include "tests/agent/fixture_root.h"
#include "tests/agent/testdata.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CpuMeterTest, AutomaticChoiceIsTheGroupWithAQuota) {
  const SystemFiles files(TestdataPath("linux-6.18-hybrid"));
  CpuMeter meter(files, {.pid = 32321});
  const auto news = meter.Refresh();
  ASSERT_TRUE(news.has_value());
  EXPECT_THAT(*news, HasSubstr("cgroup v1"));
  EXPECT_THAT(*news, HasSubstr("quota of 0.50 cores"));
  EXPECT_EQ(meter.source(), "cgroup v1");
  EXPECT_DOUBLE_EQ(meter.cores(), 0.5);
  EXPECT_EQ(meter.server_boot_id(), "32321@205974");
  EXPECT_EQ(meter.Refresh(), std::nullopt) << "the same choice is logged once";
}

TEST(CpuMeterTest, AutomaticChoiceWithoutQuotaIsTheNamedProcesses) {
  const SystemFiles files(TestdataPath("linux-4.19-v1"));
  CpuMeter meter(files, {.pid = 1734});
  EXPECT_THAT(*meter.Refresh(), HasSubstr("has no quota"));
  EXPECT_EQ(meter.source(), "processes");
  // Cpus_allowed_list 0,2-3.
  EXPECT_DOUBLE_EQ(meter.cores(), 3);
}

TEST(CpuMeterTest, AutomaticChoiceWithoutQuotaOrProcessIsTheHost) {
  FixtureRoot root("linux-4.19-v1");
  root.Write("/proc/self/cgroup", "6:cpu,cpuacct:/\n0::/\n");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {});
  EXPECT_TRUE(meter.Refresh().has_value());
  EXPECT_EQ(meter.source(), "host");
  EXPECT_DOUBLE_EQ(meter.cores(), 4);
  // (120394 + 230 + 40211 + 2210 + 35) ticks of 10 ms.
  EXPECT_DOUBLE_EQ(*meter.CpuSeconds(), 1630.8);
}

TEST(CpuMeterTest, MachineWithoutControlGroupsFallsBack) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {});
  EXPECT_THAT(meter.Refresh().value_or(""), HasSubstr("host"));
  EXPECT_DOUBLE_EQ(meter.cores(), 1);
}

TEST(CpuMeterTest, ConfiguredGroupWithoutQuotaCountsAgainstItsCores) {
  const SystemFiles files(TestdataPath("linux-4.19-v1"));
  CpuMeter meter(files, {.choice = CpuChoice::kCgroup, .pid = 1734});
  EXPECT_THAT(*meter.Refresh(), HasSubstr("as configured"));
  EXPECT_EQ(meter.source(), "cgroup v1");
  EXPECT_DOUBLE_EQ(meter.cores(), 3);
  EXPECT_DOUBLE_EQ(*meter.CpuSeconds(), 52.010334121);
}

TEST(CpuMeterTest, OperatorsLimitIsTheCoresOfProcessesAndHost) {
  const SystemFiles files(TestdataPath("linux-4.19-v1"));
  CpuMeter processes(files, {.choice = CpuChoice::kProcesses, .pid = 1734, .limit_cores = 1.5});
  processes.Refresh();
  EXPECT_DOUBLE_EQ(processes.cores(), 1.5);
  CpuMeter host(files, {.choice = CpuChoice::kHost, .limit_cores = 2});
  host.Refresh();
  EXPECT_DOUBLE_EQ(host.cores(), 2);
}

TEST(CpuMeterTest, GroupAccountedElsewhereFallsBackToProcesses) {
  FixtureRoot root("linux-6.18-hybrid");
  root.Write("/proc/32321/cgroup", "2:cpuacct:/\n1:cpu:/tlrec/meterstore\n0::/\n");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid = 32321});
  EXPECT_THAT(*meter.Refresh(), HasSubstr("cpuacct"));
  EXPECT_EQ(meter.source(), "processes");
  EXPECT_DOUBLE_EQ(meter.cores(), 0.5) << "the quota still limits the processes";
}

TEST(CpuMeterTest, ServerThatStartsLaterIsFoundThroughItsPidFile) {
  FixtureRoot root("linux-6.18-hybrid");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid_file = "/run/server.pid"});
  meter.Refresh();
  EXPECT_EQ(meter.server_boot_id(), "");
  EXPECT_EQ(meter.source(), "processes");
  root.Write("/run/server.pid", "32321\n");
  EXPECT_TRUE(meter.Refresh().has_value());
  EXPECT_EQ(meter.source(), "cgroup v1");
  EXPECT_EQ(meter.server_boot_id(), "32321@205974");
}

TEST(CpuMeterTest, PidFileOfPostgresHasTheIdInItsFirstLine) {
  FixtureRoot root("linux-6.18-hybrid");
  root.Write("/run/postmaster.pid",
             "32321\n/var/lib/postgresql\n1767323045\n5432\n/run/postgresql\nlocalhost\n"
             "  5432001         0\nready   \n");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid_file = "/run/postmaster.pid"});
  meter.Refresh();
  EXPECT_EQ(meter.server_boot_id(), "32321@205974");
}

// Returns the error of a meter whose pid_file is /run/server.pid.
std::string PidFileError(const FixtureRoot& root) {
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid_file = "/run/server.pid"});
  meter.Refresh();
  return std::string(meter.CpuSeconds().status().message());
}

TEST(CpuMeterTest, PidFileThatNamesNoRunningProcessIsUnknownAndNotIdle) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  EXPECT_THAT(PidFileError(root), HasSubstr("/run/server.pid"));
  root.Write("/run/server.pid", "none\n12\n");
  EXPECT_THAT(PidFileError(root), HasSubstr("the first line of /run/server.pid is no process id: "
                                            "\"none\""));
  root.Write("/run/server.pid", "0\n");
  EXPECT_THAT(PidFileError(root), HasSubstr("no process id"));
  root.Write("/run/server.pid", "70\n");
  EXPECT_THAT(PidFileError(root), HasSubstr("process 70 does not run"));
  root.WriteProcess(70, 1, 0, 0, 1000);
  EXPECT_EQ(PidFileError(root), "");
}

TEST(CpuMeterTest, ServerThatEndedIsUnknownUntilItRunsAgain) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  root.WriteProcess(70, 1, 0, 0, 1000);
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid = 70});
  meter.Refresh();
  EXPECT_TRUE(meter.CpuSeconds().ok());
  root.Remove("/proc/70");
  meter.Refresh();
  EXPECT_FALSE(meter.CpuSeconds().ok());
  root.WriteProcess(70, 1, 0, 0, 2000);
  meter.Refresh();
  EXPECT_TRUE(meter.CpuSeconds().ok());
}

TEST(CpuMeterTest, ConfiguredGroupThatIsMissingIsUnknownAndNotTheHost) {
  FixtureRoot root("linux-6.18-hybrid");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.choice = CpuChoice::kCgroup, .cgroup_path = "none"});
  EXPECT_THAT(*meter.Refresh(), HasSubstr("no directory"));
  EXPECT_THAT(std::string(meter.CpuSeconds().status().message()), HasSubstr("no directory"));
  EXPECT_GT(meter.cores(), 0);
}

TEST(CpuMeterTest, BootIdChangesOnRestartAndStaysWhileDown) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  root.WriteProcess(70, 1, 0, 0, 1000);
  root.Write("/run/server.pid", "70");
  const SystemFiles files(root.path());
  CpuMeter meter(files, {.pid_file = "/run/server.pid"});
  meter.Refresh();
  EXPECT_EQ(meter.server_boot_id(), "70@1000");
  root.Remove("/proc/70");
  meter.Refresh();
  EXPECT_EQ(meter.server_boot_id(), "70@1000");
  // Another process with the same id.
  root.WriteProcess(70, 1, 0, 0, 2000);
  meter.Refresh();
  EXPECT_EQ(meter.server_boot_id(), "70@2000");
}

TEST(CpuMeterTest, UnnamedServerIsLookedUpWithTheProcessThatStillRuns) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  root.WriteProcess(70, 1, 0, 0, 1000);
  const SystemFiles files(root.path());
  absl::StatusOr<int> server = absl::NotFoundError("nothing listens");
  std::vector<int> running;
  CpuMeter meter(files, {.find_server = [&](int pid) {
                   running.push_back(pid);
                   return server;
                 }});
  EXPECT_THAT(meter.Refresh().value_or(""), HasSubstr("not known: nothing listens"));
  EXPECT_EQ(meter.source(), "host");
  server = 70;
  EXPECT_THAT(meter.Refresh().value_or(""), HasSubstr("process server (70)"));
  EXPECT_EQ(meter.source(), "processes");
  EXPECT_EQ(meter.server_boot_id(), "70@1000");
  EXPECT_EQ(meter.Refresh(), std::nullopt);
  EXPECT_THAT(running, ElementsAre(0, 0, 70));
  // Restarted as another process.
  root.Remove("/proc/70");
  root.WriteProcess(71, 1, 0, 0, 2000);
  server = 71;
  EXPECT_THAT(meter.Refresh().value_or(""), HasSubstr("process server (71)"));
  EXPECT_EQ(meter.server_boot_id(), "71@2000");
  EXPECT_THAT(running, ElementsAre(0, 0, 70, 0));
  // Another process with the id of the last one is not the one that ran.
  root.WriteProcess(71, 1, 0, 0, 3000);
  meter.Refresh();
  EXPECT_EQ(running.back(), 0);
  EXPECT_EQ(meter.server_boot_id(), "71@3000");
}

TEST(CpuMeterTest, ServerThatHandsItsPortOverIsReplacedWhileItRuns) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  root.WriteProcess(70, 1, 0, 0, 1000);
  root.WriteProcess(71, 1, 0, 0, 2000);
  const SystemFiles files(root.path());
  int server = 70;
  CpuMeter meter(files, {.find_server = [&](int) { return server; }});
  meter.Refresh();
  server = 71;
  EXPECT_TRUE(meter.Refresh().has_value());
  EXPECT_EQ(meter.server_boot_id(), "71@2000");
}

TEST(CpuMeterTest, ServerThatBecomesHiddenIsUnknownForTheReasonOfTheSearch) {
  FixtureRoot root;
  root.Write("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n");
  root.WriteProcess(70, 1, 0, 0, 1000);
  const SystemFiles files(root.path());
  absl::StatusOr<int> server = 70;
  CpuMeter meter(files, {.find_server = [&](int) { return server; }});
  meter.Refresh();
  server = absl::NotFoundError("hidden; set pid_file");
  meter.Refresh();
  EXPECT_EQ(meter.CpuSeconds().status().message(), "hidden; set pid_file");
}

TEST(CpuMeterTest, NewGroupIsLoggedAlsoIfItIsOfTheSameVersion) {
  FixtureRoot root("linux-6.18-hybrid");
  root.Write("/proc/self/cgroup", "2:cpuacct:/tlrec\n1:cpu:/tlrec\n0::/\n");
  root.Write("/sys/fs/cgroup/cpu/tlrec/cpu.cfs_quota_us", "150000\n");
  const SystemFiles files(root.path());
  absl::StatusOr<int> server = absl::NotFoundError("no socket listens");
  CpuMeter meter(files, {.find_server = [&](int) { return server; }});
  const std::string first = meter.Refresh().value_or("");
  EXPECT_THAT(first,
              HasSubstr("the agent's own group /sys/fs/cgroup/cpu/tlrec has a quota of 1.50"));
  EXPECT_THAT(first, HasSubstr("no socket listens"));
  server = 32321;
  EXPECT_THAT(meter.Refresh().value_or(""),
              HasSubstr("the server is process python3 (32321), and its group "
                        "/sys/fs/cgroup/cpu/tlrec/meterstore has a quota of 0.50 cores"));
  EXPECT_EQ(meter.source(), "cgroup v1");
}

TEST(CpuMeterTest, ServerThatIsDownKeepsItsCores) {
  FixtureRoot root("linux-6.18-hybrid");
  const SystemFiles files(root.path());
  absl::StatusOr<int> server = 32321;
  CpuMeter meter(files, {.find_server = [&server](int) { return server; }});
  meter.Refresh();
  EXPECT_DOUBLE_EQ(meter.cores(), 0.5);
  // The container ends, with its process and its group.
  server = absl::NotFoundError("it does not run");
  root.Remove("/proc/32321");
  for (const char* hierarchy : {"cpu", "cpuacct", "memory", "cpuset"}) {
    root.Remove(std::string("/sys/fs/cgroup/") + hierarchy + "/tlrec/meterstore");
  }
  EXPECT_EQ(meter.Refresh(), std::nullopt);
  EXPECT_EQ(meter.source(), "cgroup v1");
  EXPECT_DOUBLE_EQ(meter.cores(), 0.5);
  EXPECT_FALSE(meter.CpuSeconds().ok()) << "a group that is gone is unknown, not idle";
}

}  // namespace
}  // namespace trunkline
