#include "trunkctl/render_top.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

v1::EndpointWeight& Add(v1::WeightTable& table, const std::string& id, double utilization) {
  if (table.services().empty()) table.add_services()->set_service("db");
  v1::EndpointWeight& endpoint = *table.mutable_services(0)->add_endpoints();
  endpoint.set_endpoint_id(id);
  endpoint.set_utilization(utilization);
  endpoint.set_state(v1::ENDPOINT_STATE_FRESH);
  endpoint.set_slow_start(1);
  return endpoint;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  return lines;
}

TEST(RenderTopTest, BusiestEndpointIsFirstAndOneWithoutAKnownLoadLast) {
  v1::WeightTable table;
  Add(table, "idle", 0.1);
  Add(table, "busy", 0.9);
  Add(table, "silent", 0).clear_utilization();
  EXPECT_THAT(RenderTop(table, {}), ContainsRegex("busy .*\nidle .*\nsilent "));
}

TEST(RenderTopTest, OrderByNameIgnoresTheLoad) {
  v1::WeightTable table;
  Add(table, "b", 0.9);
  Add(table, "a", 0.1);
  EXPECT_THAT(RenderTop(table, {.order = TopOrder::kName}), ContainsRegex("\na .*\nb "));
}

TEST(RenderTopTest, GaugeShowsHowMuchIsUsed) {
  v1::WeightTable table;
  Add(table, "half", 0.5);
  Add(table, "over", 1.5);
  const std::string text = RenderTop(table, {});
  EXPECT_THAT(text, HasSubstr("50.0%  █████  "));
  EXPECT_THAT(text, HasSubstr("150.0%  ██████████  "));
}

TEST(RenderTopTest, EachConditionThatActsOnTheWeightIsNamed) {
  v1::WeightTable table;
  v1::EndpointWeight& endpoint = Add(table, "a", 0.5);
  EXPECT_THAT(LinesOf(RenderTop(table, {})).back(), EndsWith("fresh"));
  endpoint.set_draining(true);
  endpoint.set_pinned(true);
  endpoint.set_unreachable(true);
  endpoint.set_suspect(true);
  endpoint.set_hot(true);
  endpoint.set_slow(true);
  endpoint.set_slow_start(0.4);
  EXPECT_THAT(LinesOf(RenderTop(table, {})).back(),
              EndsWith("draining, pinned, unreachable, suspect, hot, slow, slow start 40%"));
}

TEST(RenderTopTest, FrozenServiceSaysWhy) {
  v1::WeightTable table;
  Add(table, "a", 0.5);
  table.mutable_services(0)->set_notice("weights are frozen");
  EXPECT_THAT(RenderTop(table, {}), HasSubstr("\n! weights are frozen\n"));
}

TEST(RenderTopTest, OldTableSaysThatItIsOld) {
  EXPECT_THAT(RenderTop({}, {.trouble = "the controller does not answer"}),
              HasSubstr("\n! the controller does not answer\n"));
}

TEST(RenderTopTest, TableFitsTheScreenAndSaysHowMuchIsMissing) {
  v1::WeightTable table;
  for (int i = 0; i < 100; ++i) Add(table, absl::StrCat("endpoint-", i), 0.5);
  const std::vector<std::string> lines = LinesOf(RenderTop(table, {.lines = 20, .columns = 30}));
  EXPECT_THAT(lines, SizeIs(20));
  // 4 lines above the endpoints, and 15 of these.
  EXPECT_EQ(lines.back(), "85 more lines; name one servic");
  EXPECT_THAT(lines[10], HasSubstr("█"))
      << "a bar of several bytes a character is cut by characters";
}

TEST(RenderTopTest, WithoutLimitsEverythingIsThere) {
  v1::WeightTable table;
  for (int i = 0; i < 100; ++i) Add(table, absl::StrCat("endpoint-", i), 0.5);
  EXPECT_THAT(LinesOf(RenderTop(table, {})), SizeIs(104));
  EXPECT_THAT(RenderTop(table, {}), Not(HasSubstr("more lines")));
}

}  // namespace
}  // namespace trunkline
