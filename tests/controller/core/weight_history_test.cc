#include "controller/core/weight_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "controller/core/control_core.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const double kStep = absl::ToDoubleSeconds(WeightHistory::kStep);

EndpointReason Endpoint(const std::string& id, double weight) {
  EndpointReason reason;
  reason.endpoint.key = {"db", id};
  reason.endpoint.state = EndpointCondition::kFresh;
  reason.endpoint.load = Load(id, /*cpu=*/0.5);
  reason.weight = weight;
  return reason;
}

ControllerView ViewOf(std::vector<EndpointReason> endpoints) {
  ControllerView view;
  view.services.emplace_back().spec.name = "db";
  view.services.back().endpoints = std::move(endpoints);
  return view;
}

std::vector<std::optional<double>> WeightsOf(const WeightHistory& history, const std::string& id) {
  std::vector<std::optional<double>> weights;
  for (const HistoryPoint& point : history.PointsOf({"db", id})) weights.push_back(point.weight);
  return weights;
}

TEST(WeightHistoryTest, PointIsTakenAtOnceThenEachStep) {
  WeightHistory history;
  EXPECT_FALSE(history.Age(At(0)).has_value());
  for (int i = 0; i < 10; ++i) {
    history.Record(ViewOf({Endpoint("a", 1)}), At(kStep * i / 4));
  }
  EXPECT_THAT(WeightsOf(history, "a"), SizeIs(3)) << "at 0, 1 and 2 steps";
  EXPECT_EQ(history.Age(At(2.25 * kStep)), absl::Seconds(kStep) / 4);
}

TEST(WeightHistoryTest, EndpointThatComesBetweenTwoPointsIsSeenAtOnce) {
  WeightHistory history;
  history.Record(ViewOf({}), At(0));
  history.Record(ViewOf({Endpoint("a", 1)}), At(0.25 * kStep));
  EXPECT_THAT(WeightsOf(history, "a"), SizeIs(1));
  history.Record(ViewOf({Endpoint("a", 2), Endpoint("b", 3)}), At(0.5 * kStep));
  EXPECT_THAT(WeightsOf(history, "a"), ElementsAre(1)) << "its point is not replaced";
  EXPECT_THAT(WeightsOf(history, "b"), SizeIs(1));
}

TEST(WeightHistoryTest, ValuesAreExactToAThousandth) {
  WeightHistory history;
  std::vector<EndpointReason> endpoints;
  const std::vector<double> weights = {0, 0.001, 0.02, 0.333, 1, 1.5, 9.99, 10000};
  for (size_t i = 0; i < weights.size(); ++i) {
    endpoints.push_back(Endpoint(absl::StrCat(i), weights[i]));
  }
  history.Record(ViewOf(endpoints), At(0));
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto points = WeightsOf(history, absl::StrCat(i));
    ASSERT_THAT(points, SizeIs(1));
    EXPECT_NEAR(points[0].value_or(-1), weights[i], weights[i] * 0.0005);
  }
}

TEST(WeightHistoryTest, OldestPointLeavesAfterAnHour) {
  WeightHistory history;
  const int points = static_cast<int>(WeightHistory::kPoints);
  for (int i = 0; i <= points; ++i) history.Record(ViewOf({Endpoint("a", i)}), At(kStep * i));
  const auto weights = WeightsOf(history, "a");
  ASSERT_THAT(weights, SizeIs(WeightHistory::kPoints));
  EXPECT_NEAR(*weights.front(), 1, 0.001);
  EXPECT_NEAR(*weights.back(), points, 0.1);
}

TEST(WeightHistoryTest, GapOfTheControllerIsUnknownAndNotAnOldValue) {
  WeightHistory history;
  const int points = static_cast<int>(WeightHistory::kPoints);
  for (int i = 0; i < points; ++i) history.Record(ViewOf({Endpoint("a", 1)}), At(kStep * i));
  history.Record(ViewOf({Endpoint("a", 2)}), At(kStep * (points + 2)));
  const auto weights = WeightsOf(history, "a");
  ASSERT_THAT(weights, SizeIs(WeightHistory::kPoints));
  const size_t last = weights.size() - 1;
  EXPECT_EQ(weights[last], 2);
  EXPECT_EQ(weights[last - 1], std::nullopt);
  EXPECT_EQ(weights[last - 2], std::nullopt);
  EXPECT_EQ(weights[last - 3], 1);
}

TEST(WeightHistoryTest, EndpointThatLeftIsKeptForAnHour) {
  WeightHistory history;
  history.Record(ViewOf({Endpoint("a", 1), Endpoint("b", 1)}), At(0));
  for (size_t i = 1; i < WeightHistory::kPoints; ++i) {
    history.Record(ViewOf({Endpoint("b", 1)}), At(kStep * static_cast<double>(i)));
  }
  EXPECT_THAT(history.EndpointsAfter(std::nullopt), SizeIs(2));
  EXPECT_EQ(WeightsOf(history, "a").front(), 1);
  EXPECT_EQ(WeightsOf(history, "a").back(), std::nullopt);
  history.Record(ViewOf({Endpoint("b", 1)}),
                 At(kStep * static_cast<double>(WeightHistory::kPoints)));
  EXPECT_THAT(history.EndpointsAfter(std::nullopt), SizeIs(1));
  EXPECT_THAT(history.PointsOf({"db", "a"}), IsEmpty());
}

TEST(WeightHistoryTest, EndpointsThatComeAndGoDoNotAddUp) {
  WeightHistory history;
  for (int round = 0; round < 3; ++round) {
    std::vector<EndpointReason> endpoints;
    for (size_t i = 0; i < kMaxClusterEndpoints / 2 + 1; ++i) {
      endpoints.push_back(Endpoint(absl::StrCat(round, "-", i), 1));
    }
    history.Record(ViewOf(std::move(endpoints)), At(kStep * round));
    EXPECT_LE(history.EndpointsAfter(std::nullopt).size(), kMaxClusterEndpoints);
  }
}

TEST(WeightHistoryTest, LoadOfASilentEndpointIsUnknown) {
  WeightHistory history;
  EndpointReason silent = Endpoint("a", 1);
  silent.endpoint.state = EndpointCondition::kStale;
  EndpointReason blind = Endpoint("b", 1);
  blind.endpoint.load->cpu_known = false;
  history.Record(ViewOf({silent, blind, Endpoint("c", 1)}), At(0));
  const auto point = [&](const std::string& id) { return history.PointsOf({"db", id}).back(); };
  EXPECT_EQ(point("a").utilization, std::nullopt);
  EXPECT_EQ(point("b").utilization, std::nullopt);
  EXPECT_EQ(point("c").utilization, 0.5);
  EXPECT_EQ(point("c").error_share, std::nullopt) << "no proxy reports";
}

TEST(WeightHistoryTest, ProxiesViewIsRecorded) {
  WeightHistory history;
  EndpointReason endpoint = Endpoint("a", 1);
  endpoint.load.error_share = 0.25;
  endpoint.load.traffic = EndpointTraffic{.first_byte = absl::Milliseconds(125)};
  history.Record(ViewOf({endpoint}), At(0));
  EXPECT_EQ(history.PointsOf({"db", "a"}).back().error_share, 0.25);
  EXPECT_EQ(history.PointsOf({"db", "a"}).back().wait_seconds, 0.125);
}

TEST(WeightHistoryTest, EndpointsAfterAKeyAreTheRest) {
  WeightHistory history;
  history.Record(ViewOf({Endpoint("a", 1), Endpoint("b", 1), Endpoint("c", 1)}), At(0));
  const auto rest = history.EndpointsAfter(EndpointKey{"db", "a"});
  ASSERT_THAT(rest, SizeIs(2));
  EXPECT_THAT(rest[0]->endpoint_id, Eq("b"));
}

}  // namespace
}  // namespace trunkline
