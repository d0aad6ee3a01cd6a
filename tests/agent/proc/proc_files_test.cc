#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/meminfo.h"
#include "agent/proc/net_dev.h"
#include "agent/proc/net_route.h"
#include "agent/proc/netstat.h"
#include "agent/proc/proc_stat.h"
#include "agent/proc/psi.h"
#include "agent/proc/sockstat.h"
#include "tests/agent/testdata.h"

namespace trunkline {
namespace {

TEST(HostCpuTest, IdleAndIoWaitAreNotBusyAndGuestTimeCountsOnce) {
  // cpu  120394 230 40211 2203044 9120 0 2210 35 800 0: the 800 guest ticks are part of 120394.
  const auto cpu = ParseHostCpu(Testdata("linux-4.19-v1/proc/stat"));
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->busy_ticks, 120394u + 230 + 40211 + 0 + 2210 + 35);
  EXPECT_EQ(cpu->total_ticks, cpu->busy_ticks + 2203044 + 9120);
  EXPECT_EQ(cpu->cpus, 4);
}

TEST(HostCpuTest, RecordedOnLinux618) {
  const auto cpu = ParseHostCpu(Testdata("linux-6.18-hybrid/proc/stat"));
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->busy_ticks, 50524u + 1590 + 36201 + 0 + 1350 + 109);
  EXPECT_EQ(cpu->cpus, 2);
}

TEST(HostCpuTest, MissingOrRepeatedTotalIsAnError) {
  EXPECT_FALSE(ParseHostCpu("").ok());
  EXPECT_FALSE(ParseHostCpu("cpu0 1 2 3 4\n").ok());
  EXPECT_FALSE(ParseHostCpu("cpu 1 2 3\ncpu0 1 2 3\n").ok());
  EXPECT_FALSE(ParseHostCpu("cpu 1 2 x 4\ncpu0 1 2 3 4\n").ok());
  EXPECT_FALSE(ParseHostCpu("cpu 1 2 3 4\ncpu0 1 2 3 4\ncpu 1 2 3 4\n").ok());
}

TEST(ProcessStatTest, RecordedOnLinux618) {
  const auto stat = ParseProcessStat(Testdata("linux-6.18-hybrid/proc/32321/stat"));
  ASSERT_TRUE(stat.ok()) << stat.status();
  EXPECT_EQ(stat->pid, 32321);
  EXPECT_EQ(stat->parent_pid, 32226);
  EXPECT_EQ(stat->comm, "python3");
  EXPECT_EQ(stat->state, 'R');
  EXPECT_EQ(stat->own_ticks, 138u + 4);
  EXPECT_EQ(stat->reaped_children_ticks, 4u + 2);
  EXPECT_EQ(stat->start_ticks, 205974u);
}

TEST(ProcessStatTest, CommandMayHoldSpacesAndParentheses) {
  const auto stat = ParseProcessStat(Testdata("linux-4.19-v1/proc/1734/stat"));
  ASSERT_TRUE(stat.ok()) << stat.status();
  EXPECT_EQ(stat->comm, "tmux: server) R");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent_pid, 1);
  EXPECT_EQ(stat->own_ticks, 4211u + 988);
  EXPECT_EQ(stat->start_ticks, 98213u);
}

TEST(ProcessStatTest, TruncatedFileIsAnError) {
  const std::string text = Testdata("linux-4.19-v1/proc/1734/stat");
  // The start time is the last field that is parsed; a truncated number is still a number.
  const size_t start_time = text.find("98213");
  for (size_t length = 0; length <= start_time; ++length) {
    EXPECT_FALSE(ParseProcessStat(text.substr(0, length)).ok()) << length;
  }
}

TEST(AllowedCpusTest, CountsRangesAndSingles) {
  EXPECT_EQ(*CountCpuList("0-3,8,10-11\n"), 7);
  EXPECT_EQ(*CountCpuList("0"), 1);
  EXPECT_EQ(*ParseAllowedCpus(Testdata("linux-4.19-v1/proc/1734/status")), 3);
  EXPECT_EQ(*ParseAllowedCpus(Testdata("linux-6.18-hybrid/proc/32321/status")), 1);
}

TEST(AllowedCpusTest, MalformedTextIsAnError) {
  for (const char* text : {"", "3-1", "a", "1,", "0-", "-1", "0-99999999", "0-4,0-99999"}) {
    EXPECT_FALSE(CountCpuList(text).ok()) << text;
  }
  EXPECT_FALSE(ParseAllowedCpus("Name:\tx\n").ok());
}

TEST(PressureTest, SomeAvg10IsReturnedAsAShare) {
  EXPECT_DOUBLE_EQ(*ParsePressure(Testdata("linux-6.18-hybrid/proc/pressure/cpu")), 0.1133);
  EXPECT_DOUBLE_EQ(*ParsePressure(Testdata("linux-6.1-v2/proc/pressure/memory")), 0.0);
  // Before Linux 5.13 the CPU file had no "full" line.
  EXPECT_DOUBLE_EQ(*ParsePressure("some avg10=2.50 avg60=0.00 avg300=0.00 total=1\n"), 0.025);
}

TEST(PressureTest, MalformedTextIsAnError) {
  for (const char* text : {"", "full avg10=1.00\n", "some avg10=\n", "some avg10=nan x\n",
                           "some avg10=-1 \n", "some avg10=101 \n"}) {
    EXPECT_FALSE(ParsePressure(text).ok()) << text;
  }
}

TEST(NetDevTest, InterfaceIsFoundByItsWholeName) {
  const std::string text = Testdata("linux-4.19-v1/proc/net/dev");
  const auto eth0 = ParseNetDev(text, "eth0");
  ASSERT_TRUE(eth0.ok()) << eth0.status();
  EXPECT_EQ(eth0->received_bytes, 3214567890123u);
  EXPECT_EQ(eth0->sent_bytes, 98765432101u);
  EXPECT_EQ(ParseNetDev(text, "eth0:1")->sent_bytes, 33u);
  EXPECT_TRUE(absl::IsNotFound(ParseNetDev(text, "eth").status()));
}

TEST(NetDevTest, RecordedOnLinux618) {
  const auto eth0 = ParseNetDev(Testdata("linux-6.18-hybrid/proc/net/dev"), "eth0");
  ASSERT_TRUE(eth0.ok()) << eth0.status();
  EXPECT_EQ(eth0->received_bytes, 556265547u);
  EXPECT_EQ(eth0->sent_bytes, 817660u);
}

TEST(NetRouteTest, ActiveDefaultRouteWithSmallestMetricWins) {
  // wlan0 has metric 600, eth0 100, eth1 0 but is down.
  EXPECT_EQ(*ParseDefaultInterface(Testdata("linux-4.19-v1/proc/net/route")), "eth0");
  EXPECT_EQ(*ParseDefaultInterface(Testdata("linux-6.18-hybrid/proc/net/route")), "eth0");
}

TEST(NetRouteTest, NoDefaultRouteIsNotFound) {
  EXPECT_TRUE(
      absl::IsNotFound(ParseDefaultInterface(Testdata("linux-6.1-v2/proc/net/route")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseDefaultInterface("Iface\neth0 0000\n").status()));
}

TEST(NetRouteTest, DefaultRouteOfIpv6HasPrefixZeroAndIsNotRejected) {
  const std::string zeros(32, '0');
  const auto line = [&](const std::string& destination, const char* prefix, const char* metric,
                        const char* flags, const char* interface) {
    return absl::StrCat(destination, " ", prefix, " ", zeros, " 00 ", zeros, " ", metric,
                        " 00000001 00000000 ", flags, " ", interface, "\n");
  };
  const std::string reject = line(zeros, "00", "ffffffff", "00200200", "lo");
  const std::string network =
      line("20010db8000000000000000000000000", "40", "00000100", "00000001", "eth1");
  EXPECT_TRUE(absl::IsNotFound(ParseDefaultInterface6(reject + network).status()));
  EXPECT_EQ(*ParseDefaultInterface6(network + line(zeros, "00", "00000400", "00450003", "eth0") +
                                    line(zeros, "00", "00000100", "00000003", "wg0") + reject),
            "wg0");
  EXPECT_TRUE(absl::IsInvalidArgument(ParseDefaultInterface6("0000 00\n").status()));
  EXPECT_TRUE(absl::IsNotFound(ParseDefaultInterface6("").status()));
}

TEST(MeminfoTest, AvailableIsReportedByTheKernelOrTheSumOfItsParts) {
  const auto new_kernel = ParseMeminfo(Testdata("linux-6.18-hybrid/proc/meminfo"));
  ASSERT_TRUE(new_kernel.ok()) << new_kernel.status();
  EXPECT_EQ(new_kernel->total_bytes, 24684092u * 1024ull);
  EXPECT_EQ(new_kernel->available_bytes, 24234012u * 1024ull);
  const auto no_available = ParseMeminfo(Testdata("linux-4.19-v1/proc/meminfo"));
  ASSERT_TRUE(no_available.ok()) << no_available.status();
  EXPECT_EQ(no_available->available_bytes, (1048576u + 204800 + 2097152) * 1024ull);
}

TEST(MeminfoTest, NoTotalIsAnError) {
  EXPECT_FALSE(ParseMeminfo("MemFree: 1 kB\n").ok());
  EXPECT_FALSE(ParseMeminfo("MemTotal: 0 kB\nMemFree: 1 kB\n").ok());
  EXPECT_FALSE(ParseMeminfo("MemTotal: 7 MB\nMemFree: 1 kB\n").ok());
}

TEST(NetstatTest, ColumnIsFoundByName) {
  EXPECT_EQ(*ParseListenOverflows(Testdata("linux-6.18-hybrid/proc/net/netstat")), 223u);
  EXPECT_EQ(*ParseListenOverflows(Testdata("linux-6.1-v2/proc/net/netstat")), 0u);
  EXPECT_EQ(*ParseListenOverflows("TcpExt: A ListenOverflows B\nTcpExt: 1 2 3\n"), 2u);
}

TEST(NetstatTest, LinesThatDoNotMatchAreAnError) {
  EXPECT_FALSE(ParseListenOverflows("").ok());
  EXPECT_FALSE(ParseListenOverflows("TcpExt: A ListenOverflows\n").ok());
  EXPECT_FALSE(ParseListenOverflows("TcpExt: A ListenOverflows\nTcpExt: 1\n").ok());
  EXPECT_FALSE(ParseListenOverflows("TcpExt: A B\nTcpExt: 1 2\n").ok());
}

TEST(SockstatTest, SocketsInUseAreReadForEitherFamily) {
  EXPECT_EQ(*ParseTcpInUse("sockets: used 31\nTCP: inuse 14 orphan 2 tw 5 alloc 14 mem 3\n"
                           "UDP: inuse 6 mem 1\n"),
            14u);
  EXPECT_EQ(*ParseTcpInUse("TCP6: inuse 7\nUDP6: inuse 2\n"), 7u);
  EXPECT_EQ(*ParseTcpInUse("TCP: orphan 2 inuse 3\n"), 3u) << "found by its name";
}

TEST(SockstatTest, FileWithoutSocketsInUseIsAnError) {
  EXPECT_FALSE(ParseTcpInUse("").ok());
  EXPECT_FALSE(ParseTcpInUse("UDP: inuse 6 mem 1\n").ok());
  EXPECT_FALSE(ParseTcpInUse("TCP: inuse\n").ok());
  EXPECT_FALSE(ParseTcpInUse("TCP: inuse many\n").ok());
  EXPECT_FALSE(ParseTcpInUse("TCP: orphan 2\n").ok());
}

}  // namespace
}  // namespace trunkline
