// Feeds truncated and corrupted files to the parsers: they return a value or an error, never crash,
// and never return a number that no machine can have. Sanitizers also find reads past the end.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_replace.h"
#include "agent/proc/meminfo.h"
#include "agent/proc/net_dev.h"
#include "agent/proc/net_route.h"
#include "agent/proc/netstat.h"
#include "agent/proc/proc_stat.h"
#include "agent/proc/psi.h"
#include "agent/proc/sock_diag.h"
#include "agent/proc/sockstat.h"
#include "common/cgroup/cgroup_files.h"
#include "common/cgroup/cgroup_paths.h"
#include "tests/agent/testdata.h"
#include "tests/common/hex.h"

namespace trunkline {
namespace {

constexpr int kRounds = 20'000;

void ExpectSane(const absl::StatusOr<double>& value, double most) {
  if (!value.ok()) return;
  EXPECT_GE(*value, 0);
  EXPECT_TRUE(*value <= most || *value == kNoLimit) << *value;
}

void ParseAll(const std::string& text) {
  (void)ParseHostCpu(text);
  if (const auto stat = ParseProcessStat(text); stat.ok()) {
    EXPECT_LE(stat->comm.size(), text.size());
  }
  EXPECT_GT(ParseAllowedCpus(text).value_or(1), 0);
  if (const auto mounts = ParseCgroupMounts(text); mounts.ok()) {
    for (const CgroupMount& mount : *mounts) (void)CgroupDirectory(mount, text.substr(0, 100));
  }
  (void)ParseCgroupMembership(text);
  ExpectSane(ParseCpuMax(text), 1e20);
  ExpectSane(ParseCfsQuota(text, "100000"), 1e20);
  ExpectSane(ParseCpuStatSeconds(text), 1e20);
  ExpectSane(ParseCpuacctSeconds(text), 1e20);
  if (const auto throttling = ParseCpuThrottling(text); throttling.ok()) {
    ExpectSane(throttling->throttled_seconds, 1e20);
  }
  ExpectSane(ParseMemoryLimit(text), 0x1p60);
  ExpectSane(ParseInactiveFile(text), 1e20);
  ExpectSane(ParsePressure(text), 1);
  (void)ParseNetDev(text, "eth0");
  (void)ParseDefaultInterface(text);
  (void)ParseDefaultInterface6(text);
  (void)ParseListenOverflows(text);
  (void)ParseTcpInUse(text);
  if (const auto memory = ParseMeminfo(text); memory.ok()) {
    EXPECT_LE(memory->available_bytes, memory->total_bytes);
  }
  SocketDump dump;
  (void)ParseSocketDumpReply(text, 7, dump);
  std::vector<ListeningSocket> listeners;
  (void)ParseListenerDumpReply(text, 7, listeners);
}

std::string Mangle(std::string text, std::mt19937_64& rng) {
  if (text.empty()) return text;
  for (int edits = static_cast<int>(rng() % 4); edits >= 0 && !text.empty(); --edits) {
    const size_t at = rng() % text.size();
    switch (rng() % 5) {
      case 0:
        text.resize(at);
        break;
      case 1:
        text[at] = static_cast<char>(rng());
        break;
      case 2:
        text.erase(at, rng() % 20);
        break;
      case 3:
        text.insert(at, std::to_string(rng()));
        break;
      case 4:
        text.insert(at, text.substr(rng() % text.size(), rng() % 40));
        break;
    }
  }
  return text;
}

TEST(ParserGarbageTest, CorruptedFilesGiveErrorsOrPossibleNumbers) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 rng(seed);
  std::vector<std::string> corpus;
  for (const char* file :
       {"proc/stat", "proc/32321/stat", "proc/32321/status", "proc/32321/cgroup",
        "proc/self/mountinfo", "proc/pressure/cpu", "proc/net/dev", "proc/net/route",
        "proc/net/netstat", "proc/meminfo", "sys/fs/cgroup/memory/tlrec/meterstore/memory.stat",
        "sys/fs/cgroup/unified/tlrec/meterstore/cpu.stat"}) {
    corpus.push_back(Testdata(std::string("linux-6.18-hybrid/") + file));
  }
  corpus.push_back("150000 100000\n");
  for (const char* dump : {"diag-inet6.hex", "listen-inet6.hex"}) {
    corpus.push_back(test::BytesOfHex(
        absl::StrReplaceAll(Testdata(std::string("linux-6.18-hybrid/") + dump), {{"\n", ""}})));
  }
  for (int round = 0; round < kRounds; ++round)
    ParseAll(Mangle(corpus[rng() % corpus.size()], rng));
}

}  // namespace
}  // namespace trunkline
