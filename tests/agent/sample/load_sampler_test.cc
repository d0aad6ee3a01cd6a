#include "agent/sample/load_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/sample/cpu_meter.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/port_watch.h"
#include "agent/sample/rate_window.h"
#include "common/base/clock.h"
#include "tests/agent/fixture_root.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr absl::Duration kSecond = absl::Seconds(1);

MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>(seconds * 1e9));
}

class LoadSamplerTest : public testing::Test {
 protected:
  LoadSamplerTest() : root_("linux-6.18-hybrid"), files_(root_.path()), traffic_(2, 1) {
    service_ = {.local = {.name = "metering",
                          .endpoint_id = "m1",
                          .target = {.unix_path = "/run/meterstore"},
                          .port = 9000,
                          .max_connections = 10,
                          .cpu = {.pid = 32321}},
                .count_connections = [this](uint16_t) { return count_; },
                .try_connect =
                    [this] {
                      ++tries_;
                      return server_up_;
                    }};
  }

  LoadSampler Sampler() { return LoadSampler(files_, traffic_, {.services = {service_}}); }

  // Sets the CPU time of the group, in seconds.
  void SetCpu(double seconds) {
    root_.Write("/sys/fs/cgroup/cpuacct/tlrec/meterstore/cpuacct.usage",
                absl::StrCat(static_cast<int64_t>(seconds * 1e9), "\n"));
  }

  FixtureRoot root_;
  SystemFiles files_;
  TrafficTable traffic_;
  ServiceSamplerOptions service_;
  std::optional<PortCount> count_;
  bool server_up_ = false;
  int tries_ = 0;
};

TEST_F(LoadSamplerTest, UtilizationIsUseOverQuotaWithinTheWindow) {
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  // Idle for a second, then the whole quota of half a core for half a second.
  for (int i = 0; i <= 15; ++i) {
    SetCpu(100 + (i <= 10 ? 0 : (i - 10) * 0.05));
    sampler.SampleFast(At(i * 0.1));
  }
  EXPECT_NEAR(sampler.Read(absl::Milliseconds(500))[0].cpu_utilization, 1.0, 1e-6);
  EXPECT_NEAR(sampler.Read(kSecond)[0].cpu_utilization, 0.5, 1e-6);
  EXPECT_EQ(sampler.Read(kSecond)[0].cpu_source, "cgroup v1");
}

TEST_F(LoadSamplerTest, FirstSlowSampleNamesTheChosenSource) {
  LoadSampler sampler = Sampler();
  const std::vector<std::string> news = sampler.SampleSlow(At(0));
  ASSERT_THAT(news, SizeIs(1));
  EXPECT_THAT(news[0], HasSubstr("service metering: CPU is read from cgroup v1"));
  EXPECT_THAT(sampler.SampleSlow(At(1)), SizeIs(0));
}

TEST_F(LoadSamplerTest, SampleHasMemoryPressureAndIdentity) {
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  const LoadSample sample = sampler.Read(kSecond)[0];
  EXPECT_EQ(sample.service, "metering");
  EXPECT_EQ(sample.endpoint_id, "m1");
  EXPECT_EQ(sample.server_boot_id, "32321@205974");
  EXPECT_DOUBLE_EQ(sample.cores, 0.5);
  EXPECT_DOUBLE_EQ(sample.memory_utilization.value(), (16437248.0 - 53248) / 134217728);
  EXPECT_DOUBLE_EQ(sample.cpu_pressure.value(), 0.0887);
  EXPECT_EQ(sample.io_pressure, 0);
}

TEST_F(LoadSamplerTest, ThrottledShareIsThatOfTheWindow) {
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  EXPECT_EQ(sampler.Read(kSecond)[0].cpu_throttled, std::nullopt) << "a rate needs two samples";
  const std::string stat = "/sys/fs/cgroup/cpu/tlrec/meterstore/cpu.stat";
  // 250 ms more than in the recorded file, in ten more periods.
  root_.Write(stat, "nr_periods 42\nnr_throttled 41\nthrottled_time 1797486274\n");
  sampler.SampleSlow(At(1));
  EXPECT_NEAR(sampler.Read(kSecond)[0].cpu_throttled.value(), 0.25, 1e-9);
  root_.Remove(stat);
  sampler.SampleSlow(At(2));
  EXPECT_EQ(sampler.Read(kSecond)[0].cpu_throttled, std::nullopt) << "unknown, not 0";
}

TEST_F(LoadSamplerTest, ThrottledShareIsUnknownWithoutAQuota) {
  root_.Write("/sys/fs/cgroup/cpu/tlrec/meterstore/cpu.cfs_quota_us", "-1\n");
  LoadSampler sampler = Sampler();
  for (const int second : {0, 1, 2}) sampler.SampleSlow(At(second));
  EXPECT_EQ(sampler.Read(kSecond)[0].cpu_throttled, std::nullopt);
}

TEST_F(LoadSamplerTest, PressureIsUnknownOnAKernelWithoutIt) {
  root_.Remove("/proc/pressure");
  root_.Remove("/sys/fs/cgroup/unified");
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  const LoadSample sample = sampler.Read(kSecond)[0];
  for (const auto& share : {sample.cpu_pressure, sample.memory_pressure, sample.io_pressure}) {
    EXPECT_EQ(share, std::nullopt);
  }
}

TEST_F(LoadSamplerTest, StreamsOfAllWorkersAddUpToRates) {
  LoadSampler sampler = Sampler();
  sampler.SampleFast(At(0));
  traffic_.At(0, 0).successes.Add(30);
  traffic_.At(1, 0).successes.Add(10);
  traffic_.At(1, 0).errors_connect.Add(2);
  traffic_.At(0, 0).errors_reset.Add(4);
  traffic_.At(0, 0).bytes_from_proxy.Add(1000);
  traffic_.At(1, 0).bytes_to_proxy.Add(3000);
  traffic_.At(0, 0).active_streams.Set(5);
  traffic_.At(1, 0).active_streams.Set(6);
  sampler.SampleFast(At(2));
  const LoadSample sample = sampler.Read(kSecond)[0];
  EXPECT_DOUBLE_EQ(sample.successes_per_second, 20);
  EXPECT_DOUBLE_EQ(sample.errors_per_second, 3);
  EXPECT_DOUBLE_EQ(sample.bytes_per_second, 2000);
  EXPECT_EQ(sample.active_streams, 11u);
}

TEST_F(LoadSamplerTest, BytesOfStreamsThatUseThePortAreNotCountedTwice) {
  service_.local.target = {.host = "127.0.0.1", .port = 9000};
  LoadSampler sampler = Sampler();
  count_ = {.at = At(0.5), .established = 1, .bytes = 0};
  sampler.SampleFast(At(0.5));
  count_ = {.at = At(1.5), .established = 1, .bytes = 500};
  traffic_.At(0, 0).bytes_from_proxy.Add(800);
  sampler.SampleFast(At(1.5));
  EXPECT_DOUBLE_EQ(sampler.Read(kSecond)[0].bytes_per_second, 800);
}

TEST_F(LoadSamplerTest, BytesOfAPortBesideTheUnixSocketAreAdded) {
  LoadSampler sampler = Sampler();
  count_ = {.at = At(0.5), .established = 1, .bytes = 0};
  sampler.SampleFast(At(0.5));
  count_ = {.at = At(1.5), .established = 2, .bytes = 70};
  traffic_.At(0, 0).bytes_to_proxy.Add(800);
  sampler.SampleFast(At(1.5));
  const LoadSample sample = sampler.Read(kSecond)[0];
  EXPECT_DOUBLE_EQ(sample.bytes_per_second, 870);
  EXPECT_EQ(sample.connections, 2u);
  EXPECT_DOUBLE_EQ(sample.connection_utilization.value(), 0.2);
}

// On a host with many sockets, counts are seconds apart and fast samples 30 ms.
TEST_F(LoadSamplerTest, EachCountIsTakenOnceWithItsOwnTime) {
  LoadSampler sampler = Sampler();
  for (int i = 0; i <= 400; ++i) {
    const double now = 1 + i * 0.03;
    if (i % 100 == 0) count_ = {.at = At(now), .established = 3, .bytes = i * 1000ull};
    sampler.SampleFast(At(now));
  }
  EXPECT_NEAR(sampler.Read(absl::Seconds(3))[0].bytes_per_second, 1000 / 0.03, 1);
  EXPECT_EQ(sampler.Read(kSecond)[0].connections, 3u);
}

TEST_F(LoadSamplerTest, ConnectionsAreUnknownBeforeTheFirstCount) {
  LoadSampler sampler = Sampler();
  sampler.SampleFast(At(1));
  EXPECT_EQ(sampler.Read(kSecond)[0].connections, std::nullopt);
  EXPECT_EQ(sampler.Read(kSecond)[0].connection_utilization, std::nullopt);
  EXPECT_DOUBLE_EQ(sampler.Read(kSecond)[0].bytes_per_second, 0);
}

TEST_F(LoadSamplerTest, ConnectionsOfAUnixTargetWithoutPortAreUnknown) {
  service_.local.port = 0;
  service_.count_connections = [](uint16_t) -> std::optional<PortCount> {
    ADD_FAILURE() << "the service has no port";
    return std::nullopt;
  };
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  sampler.SampleFast(At(0));
  EXPECT_EQ(sampler.Read(kSecond)[0].connections, std::nullopt);
  EXPECT_EQ(sampler.Read(kSecond)[0].connection_utilization, std::nullopt);
}

TEST_F(LoadSamplerTest, NetworkUtilizationUsesTheDefaultRouteAndTheConfiguredSpeed) {
  LoadSampler sampler(files_, traffic_, {.services = {service_}, .nic_bits_per_second = 8'000'000});
  EXPECT_EQ(sampler.network().interface(), "eth0");
  const auto set = [&](int received, int sent, int overflows) {
    root_.Write("/proc/net/dev", absl::StrCat("eth0: ", received, " 1 0 0 0 0 0 0 ", sent, " 1\n"));
    root_.Write("/proc/net/netstat",
                absl::StrCat("TcpExt: A ListenOverflows\nTcpExt: 1 ", overflows, "\n"));
  };
  set(0, 0, 7);
  sampler.SampleSlow(At(0));
  set(500'000, 100'000, 10);
  sampler.SampleSlow(At(1));
  const LoadSample sample = sampler.Read(kSecond)[0];
  EXPECT_DOUBLE_EQ(sample.nic_bytes_per_second.value(), 600'000);
  EXPECT_DOUBLE_EQ(sample.nic_utilization.value(), 0.5) << "the busier direction, 4 of 8 Mbit/s";
  EXPECT_DOUBLE_EQ(sample.accept_overflows_per_second.value(), 3);
}

TEST_F(LoadSamplerTest, NetworkIsUnknownUntilReadTwiceAndWithoutASpeed) {
  LoadSampler sampler(files_, traffic_, {.services = {service_}});
  sampler.SampleSlow(At(0));
  EXPECT_EQ(sampler.Read(kSecond)[0].nic_bytes_per_second, std::nullopt);
  EXPECT_EQ(sampler.Read(kSecond)[0].accept_overflows_per_second, std::nullopt);
  sampler.SampleSlow(At(1));
  EXPECT_NE(sampler.Read(kSecond)[0].nic_bytes_per_second, std::nullopt);
  EXPECT_EQ(sampler.Read(kSecond)[0].nic_utilization, std::nullopt) << "it has no speed";
  EXPECT_NE(sampler.Read(kSecond)[0].accept_overflows_per_second, std::nullopt);
  for (const char* path : {"/proc/net/dev", "/proc/net/netstat"}) root_.Remove(path);
  sampler.SampleSlow(At(2));
  EXPECT_EQ(sampler.Read(kSecond)[0].nic_bytes_per_second, std::nullopt);
  EXPECT_EQ(sampler.Read(kSecond)[0].accept_overflows_per_second, std::nullopt);
}

TEST_F(LoadSamplerTest, CpuThatCannotBeReadIsUnknownUntilItCan) {
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  SetCpu(100);
  sampler.SampleFast(At(0));
  EXPECT_FALSE(sampler.Read(kSecond)[0].cpu_known) << "a rate needs two samples";
  SetCpu(101);
  sampler.SampleFast(At(1));
  EXPECT_TRUE(sampler.Read(kSecond)[0].cpu_known);

  root_.Remove("/sys/fs/cgroup/cpuacct/tlrec/meterstore/cpuacct.usage");
  sampler.SampleFast(At(2));
  EXPECT_FALSE(sampler.Read(kSecond)[0].cpu_known);
  EXPECT_THAT(sampler.Read(kSecond)[0].cpu_error, HasSubstr("cpuacct.usage"));
  EXPECT_EQ(sampler.Read(kSecond)[0].cpu_utilization, 0) << "not the last rate for ever";
}

TEST_F(LoadSamplerTest, UnknownCpuIsLoggedOnce) {
  service_.local.cpu = {.pid_file = "/run/server.pid"};
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  sampler.SampleFast(At(0));
  const std::vector<std::string> news = sampler.SampleSlow(At(1));
  ASSERT_THAT(news, SizeIs(1));
  EXPECT_THAT(news[0], HasSubstr("CPU is unknown and not reported: pid_file: "));
  sampler.SampleFast(At(1));
  EXPECT_THAT(sampler.SampleSlow(At(2)), SizeIs(0));
}

TEST_F(LoadSamplerTest, MemoryThatCannotBeReadIsUnknown) {
  service_.local.cpu = {.choice = CpuChoice::kHost};
  for (const char* path : {"/sys/fs/cgroup", "/proc/meminfo"}) root_.Remove(path);
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  EXPECT_THAT(sampler.Read(kSecond)[0].memory_error, HasSubstr("/proc/meminfo"));
  EXPECT_EQ(sampler.Read(kSecond)[0].memory_utilization, std::nullopt);
}

TEST_F(LoadSamplerTest, ConnectionsThatCannotBeCountedAreUnknown) {
  std::string error;
  service_.count_error = [&] { return error; };
  LoadSampler sampler = Sampler();
  count_ = {.at = At(0.5), .established = 9, .bytes = 0};
  sampler.SampleFast(At(0.5));
  EXPECT_DOUBLE_EQ(sampler.Read(kSecond)[0].connection_utilization.value(), 0.9);
  error = "sock_diag: Operation not permitted";
  sampler.SampleSlow(At(1));
  EXPECT_EQ(sampler.Read(kSecond)[0].connections_error, error);
  EXPECT_EQ(sampler.Read(kSecond)[0].connection_utilization, std::nullopt)
      << "not the last count for ever";
  error = "";
  sampler.SampleSlow(At(2));
  EXPECT_DOUBLE_EQ(sampler.Read(kSecond)[0].connection_utilization.value(), 0.9);
}

TEST_F(LoadSamplerTest, ConfiguredGroupWithoutProcessesIsNamedWhileTheServerAnswers) {
  service_.local.cpu = {.choice = CpuChoice::kCgroup, .cgroup_path = "tlrec/meterstore"};
  const std::string processes = "/sys/fs/cgroup/cpu/tlrec/meterstore/cgroup.procs";
  root_.Write(processes, "32321\n");
  server_up_ = true;
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  EXPECT_EQ(tries_, 0) << "each question is a connection to the server";
  root_.Write(processes, "");
  EXPECT_THAT(sampler.SampleSlow(At(0.5)), SizeIs(0)) << "its processes may be out of sight";
  const std::vector<std::string> news = sampler.SampleSlow(At(1));
  ASSERT_THAT(news, SizeIs(1));
  EXPECT_THAT(news[0], AllOf(HasSubstr("/sys/fs/cgroup/cpu/tlrec/meterstore has no process"),
                             HasSubstr("set cgroup_path")));
  for (int second = 2; second <= 60; ++second) {
    EXPECT_THAT(sampler.SampleSlow(At(second)), SizeIs(0)) << second;
  }
  EXPECT_EQ(tries_, 1);
  EXPECT_THAT(sampler.SampleSlow(At(61)), SizeIs(1)) << "it lasts";
  root_.Write(processes, "32321\n");
  ASSERT_THAT(sampler.SampleSlow(At(122)), SizeIs(1));
  EXPECT_THAT(sampler.SampleSlow(At(123)), SizeIs(0));
}

TEST_F(LoadSamplerTest, EmptyGroupOfAServerThatAnswersIsUnknownAndNotIdle) {
  service_.local.cpu = {.choice = CpuChoice::kCgroup, .cgroup_path = "tlrec/meterstore"};
  const std::string processes = "/sys/fs/cgroup/cpu/tlrec/meterstore/cgroup.procs";
  root_.Write(processes, "");
  server_up_ = true;
  LoadSampler sampler = Sampler();
  for (int second = 0; second <= 3; ++second) {
    sampler.SampleSlow(At(second));
    sampler.SampleFast(At(second));
  }
  const LoadSample wrong = sampler.Read(kSecond)[0];
  EXPECT_FALSE(wrong.cpu_known);
  EXPECT_THAT(wrong.cpu_error, HasSubstr("has no process"));
  EXPECT_EQ(wrong.memory_utilization, std::nullopt) << wrong.memory_error;
  EXPECT_EQ(wrong.cpu_throttled, std::nullopt);
  root_.Write(processes, "32321\n");
  for (int second = 4; second <= 6; ++second) {
    sampler.SampleSlow(At(second));
    sampler.SampleFast(At(second));
  }
  EXPECT_TRUE(sampler.Read(kSecond)[0].cpu_known) << sampler.Read(kSecond)[0].cpu_error;
}

TEST_F(LoadSamplerTest, GroupWhoseProcessesAreOutOfSightIsBelieved) {
  service_.local.cpu = {.choice = CpuChoice::kCgroup, .cgroup_path = "tlrec/meterstore"};
  root_.Write("/sys/fs/cgroup/cpu/tlrec/meterstore/cgroup.procs", "");
  server_up_ = true;
  LoadSampler sampler = Sampler();
  for (int second = 0; second <= 3; ++second) {
    root_.Write("/sys/fs/cgroup/cpuacct/tlrec/meterstore/cpuacct.usage",
                absl::StrCat(1'000'000'000 + second * 300'000'000LL, "\n"));
    sampler.SampleSlow(At(second));
    sampler.SampleFast(At(second));
  }
  EXPECT_TRUE(sampler.Read(kSecond)[0].cpu_known) << sampler.Read(kSecond)[0].cpu_error;
  EXPECT_THAT(sampler.SampleSlow(At(70)), SizeIs(0)) << "no warning";
}

TEST_F(LoadSamplerTest, ConfiguredGroupWithoutProcessesIsNoFaultWhileTheServerIsDown) {
  service_.local.cpu = {.choice = CpuChoice::kCgroup, .cgroup_path = "tlrec/meterstore"};
  root_.Write("/sys/fs/cgroup/cpu/tlrec/meterstore/cgroup.procs", "");
  LoadSampler sampler = Sampler();
  EXPECT_THAT(sampler.SampleSlow(At(0))[0], Not(HasSubstr("no process")));
  for (int second = 1; second < 11; ++second) sampler.SampleSlow(At(second));
  EXPECT_EQ(tries_, 1);
  server_up_ = true;
  ASSERT_THAT(sampler.SampleSlow(At(11)), SizeIs(1));
}

TEST_F(LoadSamplerTest, EmptyGroupThatIsNotConfiguredIsNoFault) {
  root_.Write("/sys/fs/cgroup/cpu/tlrec/meterstore/cgroup.procs", "");
  server_up_ = true;
  LoadSampler sampler = Sampler();
  EXPECT_THAT(sampler.SampleSlow(At(0))[0], Not(HasSubstr("no process")));
  EXPECT_EQ(tries_, 0);
}

TEST_F(LoadSamplerTest, MisspelledInterfaceIsAnError) {
  LoadSampler sampler(files_, traffic_, {.services = {service_}, .nic = "eth9"});
  EXPECT_THAT(sampler.SampleSlow(At(0))[0], HasSubstr("network load is unknown and not reported"));
  EXPECT_THAT(sampler.Read(kSecond)[0].network_error, HasSubstr("no interface eth9"));
}

// The default route of a laptop, a VPN or a machine that boots comes and goes.
TEST_F(LoadSamplerTest, InterfaceFollowsTheDefaultRoute) {
  constexpr char kHeader[] =
      "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
  const auto route = [&](const std::string& interface) {
    root_.Write(
        "/proc/net/route",
        absl::StrCat(kHeader, interface,
                     interface.empty() ? "" : " 00000000 0102000A 0003 0 0 0 00000000 0 0 0\n"));
  };
  root_.Write("/proc/net/dev", "wan0: 1 1 0 0 0 0 0 0 1 1\nwan1: 7 1 0 0 0 0 0 0 7 1\n");
  root_.Remove("/proc/net/ipv6_route");
  route("");
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  EXPECT_THAT(sampler.Read(kSecond)[0].network_error, HasSubstr("no default route"));
  route("wan0");
  EXPECT_THAT(sampler.SampleSlow(At(1))[0], HasSubstr("read from interface wan0"));
  EXPECT_EQ(sampler.Read(kSecond)[0].network_error, "");
  sampler.SampleSlow(At(2));
  route("wan1");
  sampler.SampleSlow(At(3));
  EXPECT_EQ(sampler.network().interface(), "wan1");
  EXPECT_EQ(sampler.Read(kSecond)[0].nic_bytes_per_second, std::nullopt)
      << "two interfaces share no counter";
}

TEST_F(LoadSamplerTest, DefaultRouteOfIpv6IsUsedWithoutOneOfIpv4) {
  const std::string zeros(32, '0');
  root_.Write("/proc/net/route", "Iface Destination Gateway Flags RefCnt Use Metric Mask\n");
  root_.Write("/proc/net/ipv6_route",
              absl::StrCat(zeros, " 00 ", zeros, " 00 fe800000000000000000000000000001 00000400 ",
                           "00000001 00000000 00450003 wan6\n"));
  EXPECT_EQ(Sampler().network().interface(), "wan6");
}

TEST_F(LoadSamplerTest, RefusedConnectMakesUnreachableUntilAProbeSucceeds) {
  LoadSampler sampler = Sampler();
  sampler.SampleSlow(At(0));
  EXPECT_TRUE(sampler.Read(kSecond)[0].reachable);
  traffic_.At(0, 0).errors_connect.Add();
  traffic_.At(0, 0).reachable.Set(0);
  EXPECT_THAT(sampler.SampleSlow(At(1)), SizeIs(1));
  EXPECT_FALSE(sampler.Read(kSecond)[0].reachable);
  // Streams no longer arrive, so only a probe of the agent can succeed.
  server_up_ = true;
  const std::vector<std::string> news = sampler.SampleSlow(At(2));
  ASSERT_THAT(news, SizeIs(1));
  EXPECT_THAT(news[0], HasSubstr("again"));
  EXPECT_TRUE(sampler.Read(kSecond)[0].reachable);
  sampler.SampleSlow(At(3));
  EXPECT_EQ(tries_, 2) << "no probe once the server is reachable";
}

TEST_F(LoadSamplerTest, SuccessfulConnectMakesReachableWithoutAProbe) {
  LoadSampler sampler = Sampler();
  traffic_.At(0, 0).errors_connect.Add();
  traffic_.At(0, 0).reachable.Set(0);
  sampler.SampleSlow(At(0));
  traffic_.At(0, 0).reachable.Set(1);
  sampler.SampleSlow(At(1));
  EXPECT_TRUE(sampler.Read(kSecond)[0].reachable);
  EXPECT_EQ(tries_, 1);
}

TEST_F(LoadSamplerTest, OldFailureOfAnIdleWorkerIsProbedOnce) {
  LoadSampler sampler = Sampler();
  traffic_.At(0, 0).errors_connect.Add();
  traffic_.At(0, 0).reachable.Set(0);
  server_up_ = true;
  sampler.SampleSlow(At(0));
  sampler.SampleSlow(At(1));
  EXPECT_EQ(tries_, 1) << "one probe must settle the old failure";
  // A failure of another worker is new.
  server_up_ = false;
  traffic_.At(1, 0).errors_connect.Add();
  traffic_.At(1, 0).reachable.Set(0);
  sampler.SampleSlow(At(2));
  EXPECT_FALSE(sampler.Read(kSecond)[0].reachable);
}

TEST_F(LoadSamplerTest, FailureCountedBeforeItsFlagIsNotLost) {
  // A sample may come after a worker counts the error and before it clears the flag.
  LoadSampler sampler = Sampler();
  traffic_.At(0, 0).errors_connect.Add();
  sampler.SampleSlow(At(0));
  traffic_.At(0, 0).reachable.Set(0);
  sampler.SampleSlow(At(1));
  EXPECT_FALSE(sampler.Read(kSecond)[0].reachable);
}

TEST(RateWindowTest, RestartedCounterClearsTheWindow) {
  RateWindow window;
  window.Add(At(0), 1000);
  window.Add(At(1), 2000);
  EXPECT_DOUBLE_EQ(window.PerSecond(kSecond), 1000);
  window.Add(At(2), 5);
  EXPECT_DOUBLE_EQ(window.PerSecond(kSecond), 0);
  window.Add(At(3), 15);
  EXPECT_DOUBLE_EQ(window.PerSecond(kSecond), 10);
}

TEST(RateWindowTest, RateCoversTheWindowAtAnySampleCount) {
  RateWindow window;
  // 33 samples per second for 12 s, growing by 1 per second, then by 5, and by 100 in the last
  // second.
  double value = 0;
  for (int i = 0; i < 400; ++i) {
    window.Add(At(i * 0.03), value);
    value += (i < 200 ? 1 : i < 365 ? 5 : 100) * 0.03;
  }
  EXPECT_NEAR(window.PerSecond(absl::Milliseconds(500)), 100, 0.01);
  EXPECT_NEAR(window.PerSecond(absl::Seconds(2)), (34 * 100 + 33 * 5) / 67.0, 0.01);
  EXPECT_NEAR(window.PerSecond(absl::Seconds(10)), (34 * 100 + 165 * 5 + 135 * 1) / 334.0, 0.01);
}

TEST(RateWindowTest, KeepsNoSamplesBeyondTheLongestWindow) {
  RateWindow window;
  for (int i = 0; i < 1000; ++i) window.Add(At(i), i < 500 ? 0 : i);
  EXPECT_DOUBLE_EQ(window.PerSecond(absl::Hours(1)), 1) << "the first 500 samples must be dropped";
}

}  // namespace
}  // namespace trunkline
