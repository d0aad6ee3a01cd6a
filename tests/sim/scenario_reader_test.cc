#include "tests/sim/scenario_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/forwarding_mode.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

using testing::HasSubstr;

constexpr char kWhole[] = R"(# A comment.
purpose Everything at once.   # and one at the end
mode message
server a cores 4 speed 2.5 quota 1.5
server b memory 40% waits 6 distance 20ms
request cpu exponential 4ms tail 1% 50ms wait constant 60ms bytes 1000
load 70%
burst 8x for 3s every 30s
long 25% requests 50 every 200ms
proxies 4
duration 10min
timeout 5s
objective 250us
report_interval 100ms
steady 60s to 120s
settle after 5s
watch b
at 90s server b dies
at 30s load 90%
at 40s server a neighbour 40%
at 50s agent a claims work 1e15
at 95s controller starts empty
expect max/avg <= 1.08
expect misses <= 1.3x leastconn
expect settle <= 10s
)";

TEST(ScenarioReaderTest, EveryLineIsRead) {
  const absl::StatusOr<Scenario> read = ReadScenario("some/where/whole.txt", kWhole);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->name, "whole");
  EXPECT_EQ(read->purpose, "Everything at once.");
  EXPECT_EQ(read->mode, ForwardingMode::kMessage);
  ASSERT_EQ(read->servers.size(), 2u);
  EXPECT_EQ(read->servers[0].cores, 4);
  EXPECT_DOUBLE_EQ(read->servers[0].capacity(), 1.5 * 2.5);
  EXPECT_DOUBLE_EQ(read->servers[1].memory, 0.4);
  EXPECT_EQ(read->servers[1].parallel_waits, 6);
  EXPECT_EQ(read->servers[1].distance, 20 * kMillisecond);
  EXPECT_DOUBLE_EQ(read->cpu.Mean(), 0.99 * 0.004 + 0.01 * 0.05);
  EXPECT_EQ(read->wait.shape, Distribution::Shape::kConstant);
  EXPECT_EQ(read->burst.every, 30 * kSecond);
  EXPECT_EQ(read->long_flows.requests, 50);
  EXPECT_EQ(read->duration, 600 * kSecond);
  EXPECT_EQ(read->objective, 250'000);
  EXPECT_EQ(read->steady_end(), 120 * kSecond);
  EXPECT_EQ(read->watched, 1u);
  ASSERT_EQ(read->actions.size(), 5u);
  EXPECT_EQ(read->actions[0].kind, ActionKind::kLoad) << "actions are sorted by time";
  EXPECT_EQ(read->actions[3].kind, ActionKind::kServerDies);
  EXPECT_DOUBLE_EQ(read->actions[2].value, 1e15);
  ASSERT_EQ(read->expectations.size(), 3u);
  EXPECT_EQ(read->expectations[1].than, "leastconn");
  EXPECT_EQ(read->expectations[2].line, 25);
}

TEST(ScenarioReaderTest, ManyServersAreOneLine) {
  const absl::StatusOr<Scenario> read =
      ReadScenario("many.txt", "purpose Many.\nservers 10000 cores 2\n");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->servers.size(), 10'000u);
  EXPECT_LT(read->servers[9].name, read->servers[10].name);
  EXPECT_DOUBLE_EQ(read->capacity(), 20'000);
}

struct BadText {
  std::string text;  // after a first line with a purpose and a second one with server a
  std::string error;
};

class BadScenarioTest : public testing::TestWithParam<BadText> {};

TEST_P(BadScenarioTest, IsRefusedWithFileAndLine) {
  const absl::StatusOr<Scenario> read =
      ReadScenario("bad.txt", "purpose Bad.\nserver a\n" + GetParam().text);
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("bad.txt:3: "));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Lines, BadScenarioTest,
    testing::Values(BadText{"frobnicate 3\n", "not with \"frobnicate\""},
                    BadText{"load 70\n", "\"70\" stands where a share such as 40% is expected"},
                    BadText{"load\n", "the line ends where a share such as 40% is expected"},
                    BadText{"load 70% 80%\n", "nothing is expected after here: \"80%\""},
                    BadText{"duration 10\n", "a duration such as 250us, 20ms, 1s or 10min"},
                    BadText{"duration -5s\n", "\"-5s\""},
                    BadText{"mode carrier\n", "\"carrier\" is none of tunnel, message, direct"},
                    BadText{"server a\n", "there are two servers a"},
                    BadText{"server b cores 0\n", "at least one core"},
                    BadText{"server b colour 3\n", "\"colour\" is none of"},
                    BadText{"watch b\n", "there is no server \"b\" in the lines above"},
                    BadText{"at 3s server b dies\n", "there is no server \"b\""},
                    BadText{"at 3s server a sleeps\n", "\"sleeps\" is none of"},
                    BadText{"at 3s server a neighbour 100%\n", "below 100%"},
                    BadText{"burst 8x for 30s every 3s\n", "shorter than the time"},
                    BadText{"proxies 0\n", "at least one proxy"},
                    BadText{"proxies 1.5\n", "a number of proxies"},
                    BadText{"expect luck <= 3\n", "\"luck\" is none of"},
                    BadText{"expect misses <= 1.3x fortune\n", "there is no rule \"fortune\""},
                    BadText{"expect max/avg < 1.08\n", "\"<\" stands where \"<=\""},
                    BadText{"steady 200s\n", "the steady state must begin before it ends"}));

TEST(ScenarioReaderTest, TunnelsNeedAgents) {
  const absl::StatusOr<Scenario> read = ReadScenario("t.txt", "purpose T.\nserver a agentless\n");
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("server a needs an agent"));
  EXPECT_TRUE(ReadScenario("m.txt", "purpose M.\nmode message\nserver a agentless\n").ok());
}

TEST(ScenarioReaderTest, TextWithoutServersIsRefused) {
  const absl::StatusOr<Scenario> read = ReadScenario("empty.txt", "purpose None.\n");
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("\"server ...\" is missing"));
}

TEST(ScenarioReaderTest, MissingFileIsNamed) {
  EXPECT_THAT(std::string(LoadScenario("no/such.txt").status().message()),
              HasSubstr("no/such.txt"));
}

TEST(ScenarioReaderTest, EveryScenarioOfTheTreeIsRead) {
  size_t read = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(TRUNKLINE_SOURCE_DIR "/tests/scenarios")) {
    const absl::StatusOr<Scenario> scenario = LoadScenario(entry.path());
    EXPECT_TRUE(scenario.ok()) << scenario.status();
    ++read;
  }
  EXPECT_GE(read, 20u);
}

}  // namespace
}  // namespace trunkline::sim
