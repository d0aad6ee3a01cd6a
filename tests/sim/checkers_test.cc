#include "tests/sim/checkers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"

namespace trunkline::sim {
namespace {

using testing::HasSubstr;

class CheckersTest : public testing::Test {
 protected:
  struct Endpoint {
    double weight = 1;
    EndpointCondition state = EndpointCondition::kFresh;
    bool hot = false;
    bool slower = false;
    bool reachable = true;
  };

  void Check(const std::vector<Endpoint>& endpoints) {
    ControllerView view;
    ServiceReason& service = view.services.emplace_back();
    double sum = 0;
    for (const Endpoint& one : endpoints) sum += one.weight;
    char name = 'a';
    for (const Endpoint& one : endpoints) {
      EndpointReason& reason = service.endpoints.emplace_back();
      reason.endpoint.key = {"sim", std::string(1, name++)};
      reason.endpoint.state = one.state;
      reason.load.hot = one.hot;
      reason.load.slower = one.slower;
      reason.proposed.reachable = one.reachable;
      reason.weight = one.weight;
      reason.share = one.weight / sum;
    }
    checkers_.Check(view);
  }
  void ExpectViolation(const std::string& text) {
    ASSERT_EQ(result_.violations.size(), 1u);
    EXPECT_THAT(result_.violations[0].text, HasSubstr(text));
  }

  EventQueue queue_;
  RunResult result_;
  Checkers checkers_{queue_, 2, result_};
};

TEST_F(CheckersTest, WhatIsAllowedIsNotReported) {
  Check({{.weight = 1}, {.weight = 1}});
  Check({{.weight = 0.5}, {.weight = 1.5}});
  Check({{.weight = 0.5, .state = EndpointCondition::kStale}, {.weight = 1.5, .hot = true}});
  Check({{.weight = 0.45, .state = EndpointCondition::kStale}, {.weight = 1.2, .slower = true}});
  EXPECT_TRUE(result_.violations.empty());
}

TEST_F(CheckersTest, WeightBelowTheFloorIsReported) {
  Check({{.weight = 0.01}, {.weight = 1.99}});
  ExpectViolation("bounds: the weight of a");
}

TEST_F(CheckersTest, RaiseWhileStaleIsReported) {
  Check({{.weight = 1}, {.weight = 1}});
  Check({{.weight = 1.1, .state = EndpointCondition::kStale}, {.weight = 0.9}});
  ExpectViolation("stale: the weight of a rose from 1 to 1.1");
}

TEST_F(CheckersTest, HotEndpointThatGainsShareIsReported) {
  Check({{.weight = 1}, {.weight = 1}});
  Check({{.weight = 1.1, .hot = true}, {.weight = 0.9}});
  ExpectViolation("sign rule: the share of a rose");
}

TEST_F(CheckersTest, SlowerEndpointThatGainsShareIsReported) {
  Check({{.weight = 1}, {.weight = 1}});
  Check({{.weight = 1, .slower = true}, {.weight = 0.9}});
  ExpectViolation("while it was slower");
}

TEST_F(CheckersTest, WhatAnUnreachableEndpointLosesGoesToTheOthers) {
  Check({{.weight = 1}, {.weight = 1}, {.weight = 1}});
  Check({{.weight = 0.02, .reachable = false}, {.weight = 1, .hot = true}, {.weight = 1}});
  EXPECT_TRUE(result_.violations.empty());
}

TEST_F(CheckersTest, SharesOfAControllerThatStartsAgainAreNotCompared) {
  Check({{.weight = 1}, {.weight = 1}});
  checkers_.OnControllerLost();
  Check({{.weight = 1.5, .hot = true}, {.weight = 0.5}});
  EXPECT_TRUE(result_.violations.empty());
}

TEST_F(CheckersTest, HealthyServerWithoutFlowsIsReported) {
  for (int i = 0; i < 100; ++i) checkers_.OnFlow(1);
  checkers_.CheckStarvation({false, true}, {0.5, 0.5});
  EXPECT_TRUE(result_.violations.empty()) << "it is not well";
  for (int i = 0; i < 100; ++i) checkers_.OnFlow(1);
  checkers_.CheckStarvation({true, true}, {0.1, 0.9});
  EXPECT_TRUE(result_.violations.empty()) << "ten flows may be bad luck";
  for (int i = 0; i < 100; ++i) checkers_.OnFlow(1);
  checkers_.CheckStarvation({true, true}, {0.5, 0.5});
  ExpectViolation("starvation: server 0");
}

TEST_F(CheckersTest, FloodOfViolationsIsCounted) {
  for (size_t i = 0; i < Checkers::kMaxListed + 5; ++i) Check({{.weight = 0.01}, {.weight = 1.99}});
  EXPECT_EQ(result_.violations.size(), Checkers::kMaxListed);
  EXPECT_EQ(result_.violations_not_listed, 5u);
}

}  // namespace
}  // namespace trunkline::sim
