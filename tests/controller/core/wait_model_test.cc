// Which endpoints make clients wait more than the others do.
#include "controller/core/wait_model.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/traffic_window.h"
#include "controller/core/weighted_endpoint.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

class WaitModelTest : public testing::Test {
 protected:
  // Endpoints a, b, c, ... with these waits; zero means no answers.
  void Tick(const std::vector<double>& millis, double at, double answers = 100) {
    std::vector<WeightedEndpoint> endpoints;
    for (size_t i = 0; i < millis.size(); ++i) {
      if (registered_.size() <= i) {
        registered_.emplace_back().key = {"db", std::string(1, static_cast<char>('a' + i))};
      }
      EndpointTraffic traffic;
      if (millis[i] > 0) {
        traffic.first_byte = absl::Milliseconds(millis[i]);
        traffic.answers = answers;
      } else {
        traffic.in_flight = 5;
      }
      endpoints.push_back({&registered_[i], 1, traffic});
    }
    model_.Tick(endpoints, At(at));
  }
  double Excess(const std::string& id) const { return model_.Excess(id).value_or(-1); }

  std::deque<RegisteredEndpoint> registered_;
  WaitModel model_;
};

TEST_F(WaitModelTest, EndpointThatSlowsDownAloneExceeds) {
  Tick({10, 10, 10}, 0);
  Tick({10, 10, 40}, 1);
  EXPECT_DOUBLE_EQ(Excess("a"), 1);
  EXPECT_DOUBLE_EQ(Excess("c"), 4);
}

// One is in another zone: its wait is long and says nothing about its load.
TEST_F(WaitModelTest, EndpointThatIsAlwaysSlowerDoesNotExceed) {
  Tick({10, 10, 60}, 0);
  Tick({20, 20, 120}, 1);
  EXPECT_DOUBLE_EQ(Excess("c"), 1);
}

TEST_F(WaitModelTest, RequestsThatBecomeLongerForAllExceedNowhere) {
  Tick({10, 12, 14}, 0);
  Tick({100, 120, 140}, 1);
  for (const char* id : {"a", "b", "c"}) EXPECT_DOUBLE_EQ(Excess(id), 1) << id;
}

// After a drain or a restart: its shortest wait is that of an idle server, those of the others are
// not.
TEST_F(WaitModelTest, EndpointThatWasIdleForAWhileDoesNotExceed) {
  Tick({20, 20, 20}, 0);
  Tick({20, 20, 10}, 1);
  Tick({20, 20, 20}, 2);
  EXPECT_DOUBLE_EQ(Excess("c"), 1);
}

TEST_F(WaitModelTest, SlowerOneOfTwoExceeds) {
  Tick({10, 10}, 0);
  Tick({10, 30}, 1);
  EXPECT_DOUBLE_EQ(Excess("a"), 1);
  EXPECT_DOUBLE_EQ(Excess("b"), 3);
}

TEST_F(WaitModelTest, EndpointThatNoLongerAnswersExceeds) {
  Tick({10, 10, 10}, 0);
  Tick({10, 10, 0}, 1);
  EXPECT_GT(Excess("c"), WaitModel::kSlow);
}

TEST_F(WaitModelTest, FewAnswersAreNoMeasurement) {
  Tick({10, 10, 10}, 0);
  Tick({10, 10, 40}, 1, WaitModel::kMinAnswers - 1);
  EXPECT_FALSE(model_.Excess("c").has_value());
}

TEST_F(WaitModelTest, AloneThereIsNothingToCompareWith) {
  Tick({10}, 0);
  Tick({100}, 1);
  EXPECT_FALSE(model_.Excess("a").has_value());
}

// If one endpoint draws all the traffic, the others still tell what a wait should be.
TEST_F(WaitModelTest, EndpointsWithoutTrafficAreCompared) {
  Tick({10, 10, 10}, 0);
  Tick({40, 10, 10}, 1);
  std::vector<WeightedEndpoint> endpoints;
  for (size_t i = 0; i < 3; ++i) endpoints.push_back({&registered_[i], 1, EndpointTraffic()});
  endpoints[0].traffic = {.first_byte = absl::Milliseconds(40), .answers = 100};
  model_.Tick(endpoints, At(2));
  EXPECT_DOUBLE_EQ(Excess("a"), 4);
  EXPECT_EQ(model_.Faster("a"), false);
  EXPECT_FALSE(model_.Excess("b").has_value());
}

// Below a millisecond queues do not matter, and the ratio of two small numbers is noise.
TEST_F(WaitModelTest, WaitsBelowAMillisecondAreEqual) {
  Tick({0.1, 0.1, 0.1}, 0);
  Tick({0.1, 0.1, 0.9}, 1);
  EXPECT_DOUBLE_EQ(Excess("c"), 1);
}

TEST_F(WaitModelTest, SlowForGoodBecomesTheNewBaseline) {
  const double age = absl::ToDoubleSeconds(WaitModel::kBaselineAge);
  Tick({10, 10, 10}, 0);
  Tick({10, 10, 40}, 1);
  Tick({10, 10, 40}, age + 1);
  EXPECT_DOUBLE_EQ(Excess("c"), 4) << "the shortest wait of the period before still counts";
  Tick({10, 10, 40}, 2 * age + 2);
  EXPECT_DOUBLE_EQ(Excess("c"), 1);
}

}  // namespace
}  // namespace trunkline
