#include "trunkctl/render_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

v1::GetWeightHistoryResponse HalfMinutes() {
  v1::GetWeightHistoryResponse history;
  history.set_step_seconds(30);
  return history;
}

v1::EndpointHistory& Add(v1::GetWeightHistoryResponse& history, const std::string& service,
                         const std::string& id) {
  v1::EndpointHistory& endpoint = *history.add_endpoints();
  endpoint.set_service(service);
  endpoint.set_endpoint_id(id);
  return endpoint;
}

TEST(RenderHistoryTest, BarsGrowWithTheValueAndAnUnknownOneIsADot) {
  EXPECT_EQ(Bars({0, 0.5, 1}, 1), "▁▅█");
  EXPECT_EQ(Bars({1, std::nullopt, 1}, 2), "▅·▅");
}

TEST(RenderHistoryTest, ValuesThatAreAllZeroAreTheLowestBar) { EXPECT_EQ(Bars({0, 0}, 0), "▁▁"); }

TEST(RenderHistoryTest, EndpointsOfAServiceHaveOneScale) {
  v1::GetWeightHistoryResponse history = HalfMinutes();
  Add(history, "db", "large").add_points()->set_weight(2);
  Add(history, "db", "small").add_points()->set_weight(1);
  const std::string text = RenderHistory(history, HistoryQuantity::kWeight);
  EXPECT_THAT(text, HasSubstr("LAST 60 MINUTES, FROM 0 TO 2"));
  EXPECT_THAT(text, HasSubstr("·█\n"));
  EXPECT_THAT(text, HasSubstr("·▅\n"));
}

TEST(RenderHistoryTest, PeakOfHalfAMinuteIsSeenInItsMinute) {
  v1::GetWeightHistoryResponse history = HalfMinutes();
  v1::EndpointHistory& endpoint = Add(history, "db", "a");
  for (const float utilization : {0.1F, 0.1F, 0.9F, 0.1F}) {
    endpoint.add_points()->set_utilization(utilization);
  }
  const std::string text = RenderHistory(history, HistoryQuantity::kUtilization);
  EXPECT_THAT(text, HasSubstr("▂█\n"));
  EXPECT_THAT(text, HasSubstr("10.0%  10.0%  90.0%")) << "now, smallest, largest\n" << text;
}

TEST(RenderHistoryTest, EndpointThatIsGoneHasNoValueNow) {
  v1::GetWeightHistoryResponse history = HalfMinutes();
  v1::EndpointHistory& endpoint = Add(history, "db", "a");
  endpoint.add_points()->set_weight(1);
  for (int i = 0; i < 3; ++i) endpoint.add_points();
  const std::string text = RenderHistory(history, HistoryQuantity::kWeight);
  EXPECT_THAT(text, HasSubstr("█·\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("a +- +1 +1"));
}

TEST(RenderHistoryTest, EachServiceHasItsTable) {
  v1::GetWeightHistoryResponse history = HalfMinutes();
  Add(history, "db", "a").add_points()->set_wait_seconds(0.002F);
  Add(history, "web", "a").add_points()->set_wait_seconds(0.2F);
  const std::string text = RenderHistory(history, HistoryQuantity::kWait);
  EXPECT_THAT(text, HasSubstr("service db\n"));
  EXPECT_THAT(text, HasSubstr("\nservice web\n"));
  EXPECT_THAT(text, HasSubstr("FROM 0 TO 2ms"));
}

TEST(RenderHistoryTest, NoEndpointIsSaid) {
  EXPECT_EQ(RenderHistory(HalfMinutes(), HistoryQuantity::kErrors),
            "the controller has recorded no endpoint yet\n");
}

}  // namespace
}  // namespace trunkline
