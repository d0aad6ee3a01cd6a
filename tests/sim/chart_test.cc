#include "tests/sim/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>

#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(ChartTest, DrawsALineForEachServerAndOneForLatency) {
  Scenario scenario{.name = "s", .purpose = "Less < more."};
  scenario.servers = {{.name = "a"}, {.name = "b"}};
  scenario.actions = {{.at = kSecond}};
  RunResult result;
  result.seconds.resize(2);
  for (int i = 0; i < 3; ++i) {
    result.seconds[0].push_back({.utilization = 0.5, .share = 0.25});
    result.seconds[1].push_back({.utilization = 1.5, .share = 0.75});
    result.p99_by_second.push_back(0.02);
  }
  const std::string svg = DrawRun(scenario, "adaptive", result);
  EXPECT_EQ(Count(svg, "<polyline"), 5u);
  EXPECT_EQ(Count(svg, "stroke-dasharray"), 3u) << "the action is marked in each panel";
  EXPECT_THAT(svg, HasSubstr("Less &lt; more."));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  // Utilization 0.5 is in the middle of the first panel; 1.5 is cut at its top.
  EXPECT_THAT(svg, HasSubstr("60.0,135.0"));
  EXPECT_THAT(svg, HasSubstr("60.0,60.0"));
}

TEST(ChartTest, ManyServersAreNotAllDrawn) {
  Scenario scenario;
  RunResult result;
  for (size_t i = 0; i < kMaxDrawn + 5; ++i) {
    scenario.servers.push_back({.name = std::to_string(i)});
    result.seconds.push_back({{.utilization = 0.5}});
  }
  result.p99_by_second = {0.01};
  EXPECT_EQ(Count(DrawRun(scenario, "adaptive", result), "<polyline"), 2 * kMaxDrawn + 1);
}

}  // namespace
}  // namespace trunkline::sim
