#include "controller/core/weight_policy.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/service_spec.h"
#include "controller/core/weighted_endpoint.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

class WeightPolicyTest : public testing::Test {
 protected:
  RegisteredEndpoint& Add(const std::string& id) {
    RegisteredEndpoint& endpoint = endpoints_[id];
    endpoint.key = {"db", id};
    endpoint.address = "10.0.0.1:7073";
    endpoint.cores = 1;
    endpoint.incarnation = 1;
    endpoint.state = EndpointCondition::kFresh;
    endpoint.load = Load(id);
    return endpoint;
  }
  ProposedWeight TickFor(const std::string& id, double at) {
    std::vector<WeightedEndpoint> weighted;
    for (auto& [name, endpoint] : endpoints_) {
      endpoint.reported_at = At(at);
      weighted.push_back({&endpoint, 1.0});
      if (waits_.contains(name)) {
        weighted.back().traffic = {
            .served_per_second = 100, .first_byte = waits_.at(name), .answers = 300};
      }
    }
    model_.Tick(weighted, At(at));
    for (const ProposedWeight& proposed : policy_->Tick(weighted, model_, At(at))) {
      if (proposed.endpoint_id == id) return proposed;
    }
    ADD_FAILURE() << "no proposal for " << id;
    return {};
  }
  // "old" has finished slow start.
  void Establish() {
    Add("old");
    TickFor("old", 0);
    TickFor("old", 31);
  }
  void Use(BalancingPolicy kind) { policy_.emplace(kind, absl::Seconds(30)); }

  std::map<std::string, RegisteredEndpoint> endpoints_;
  std::map<std::string, absl::Duration> waits_;  // as proxies see them
  LoadModel model_{absl::Seconds(1)};
  std::optional<WeightPolicy> policy_{std::in_place, BalancingPolicy::kAdaptive, absl::Seconds(30)};
};

TEST_F(WeightPolicyTest, MemoryIsABarrierAndNotATerm) {
  EXPECT_EQ(WeightPolicy::MemoryFactor(0), 1);
  EXPECT_EQ(WeightPolicy::MemoryFactor(0.85), 1);
  EXPECT_NEAR(WeightPolicy::MemoryFactor(0.91), 0.525, 1e-9);
  EXPECT_NEAR(WeightPolicy::MemoryFactor(0.97), 0.05, 1e-9);
  EXPECT_NEAR(WeightPolicy::MemoryFactor(1.5), 0.05, 1e-9);
  Add("a").load->memory_utilization = 0.97;
  EXPECT_NEAR(TickFor("a", 0).value, 0.05, 1e-9);
}

TEST_F(WeightPolicyTest, SlowStartIsOffWhenAllAreNew) {
  Add("a");
  EXPECT_EQ(TickFor("a", 0).slow_start, 1);
  Add("b");
  EXPECT_EQ(TickFor("b", 20).slow_start, 1) << "no endpoint has finished slow start";
  EXPECT_EQ(TickFor("b", 31).slow_start, 1);
}

TEST_F(WeightPolicyTest, NewcomerStartsAtATenthAndGrowsWithTime) {
  Establish();
  Add("new");
  EXPECT_NEAR(TickFor("new", 40).slow_start, 0.1, 1e-9);
  EXPECT_NEAR(TickFor("new", 42).slow_start, 0.1, 1e-9);
  EXPECT_NEAR(TickFor("new", 55).slow_start, 0.5, 1e-9);
  EXPECT_EQ(TickFor("new", 70).slow_start, 1);
}

TEST_F(WeightPolicyTest, SlowStartPausesWhileTheNewcomerIsBusierThanTheRest) {
  Establish();
  Add("new");
  TickFor("new", 40);
  TickFor("new", 55);
  endpoints_["new"].load->cpu_utilization = 0.9;  // the mean is 0.7, the margin 0.1
  EXPECT_NEAR(TickFor("new", 60).slow_start, 0.5, 1e-9);
  endpoints_["new"].load->cpu_utilization = 0.5;
  EXPECT_GT(TickFor("new", 65).slow_start, 0.5);
}

TEST_F(WeightPolicyTest, SlowStartPausesWithoutReports) {
  Establish();
  Add("new");
  TickFor("new", 40);
  TickFor("new", 55);
  endpoints_["new"].state = EndpointCondition::kStale;
  EXPECT_NEAR(TickFor("new", 60).slow_start, 0.5, 1e-9);
}

TEST_F(WeightPolicyTest, SlowStartPausesWhileTheServiceIsFrozen) {
  Establish();
  Add("new");
  TickFor("new", 40);
  TickFor("new", 55);
  Add("lost-1").state = EndpointCondition::kStale;
  Add("lost-2").state = EndpointCondition::kStale;
  Add("lost-3").state = EndpointCondition::kStale;
  EXPECT_NEAR(TickFor("new", 65).slow_start, 0.5, 1e-9);
}

TEST_F(WeightPolicyTest, SlowStartPausesWhileTheServerIsUnreachable) {
  Establish();
  Add("new");
  TickFor("new", 40);
  TickFor("new", 55);
  endpoints_["new"].load->reachable = false;
  EXPECT_NEAR(TickFor("new", 65).slow_start, 0.5, 1e-9);
}

TEST_F(WeightPolicyTest, NewcomerThatReplacesADrainingServerDoesNotStartSlowly) {
  Establish();
  endpoints_["old"].draining = true;
  Add("new");
  EXPECT_EQ(TickFor("new", 40).slow_start, 1) << "no other endpoint carries the load";
}

TEST_F(WeightPolicyTest, RestartedServerStartsSlowlyAgain) {
  Establish();
  Add("a");
  TickFor("a", 40);
  ASSERT_EQ(TickFor("a", 80).slow_start, 1);
  ++endpoints_["a"].incarnation;
  EXPECT_NEAR(TickFor("a", 81).slow_start, 0.1, 1e-9);
}

TEST_F(WeightPolicyTest, ExpectedEndpointBesideEstablishedOnesGetsATenth) {
  Establish();
  RegisteredEndpoint& expected = Add("expected");
  expected.state = EndpointCondition::kExpected;
  expected.load.reset();
  expected.incarnation = 0;
  TickFor("expected", 40);
  EXPECT_NEAR(TickFor("expected", 100).slow_start, 0.1, 1e-9);
}

TEST_F(WeightPolicyTest, StaleEndpointMayNotRise) {
  Add("a").state = EndpointCondition::kStale;
  EXPECT_FALSE(TickFor("a", 0).may_rise);
  endpoints_["a"].state = EndpointCondition::kExpired;
  EXPECT_TRUE(TickFor("a", 0).may_rise);
}

TEST_F(WeightPolicyTest, UnreachableServerIsMarkedInTheProposal) {
  Add("a").load->reachable = false;
  EXPECT_FALSE(TickFor("a", 0).reachable);
}

TEST_F(WeightPolicyTest, ConfiguredWeightsUseTheOperatorsFigureAndNothingElse) {
  Add("a").operator_capacity = 3;
  Add("b");
  endpoints_["a"].load->memory_utilization = 0.99;
  int at = 0;
  for (const BalancingPolicy policy :
       {BalancingPolicy::kStatic, BalancingPolicy::kLeastRequest, BalancingPolicy::kLeastTime,
        BalancingPolicy::kRandom, BalancingPolicy::kMaglev}) {
    Use(policy);
    EXPECT_EQ(TickFor("a", at++).value, 3);
    EXPECT_EQ(TickFor("b", at++).value, 1);
  }
}

TEST_F(WeightPolicyTest, RoundRobinIsEqualButStartsSlowlyAndDrains) {
  Use(BalancingPolicy::kRoundRobin);
  Establish();
  EXPECT_EQ(TickFor("old", 35).value, 1);
  Add("new").operator_capacity = 7;
  EXPECT_NEAR(TickFor("new", 40).value, 0.1, 1e-9);
  endpoints_["new"].draining = true;
  EXPECT_TRUE(TickFor("new", 41).draining);
}

TEST_F(WeightPolicyTest, HotEndpointGainsNoShare) {
  for (const char* id : {"a", "b", "c"}) Add(id);
  endpoints_["a"].load->cpu_utilization = 0.9;  // the others' is 0.5
  EXPECT_FALSE(TickFor("a", 0).may_rise);
  EXPECT_TRUE(TickFor("b", 1).may_rise);
  endpoints_["a"].load->cpu_utilization = 0.55;
  EXPECT_TRUE(TickFor("a", 2).may_rise);
  Use(BalancingPolicy::kStatic);
  endpoints_["a"].load->cpu_utilization = 0.9;
  EXPECT_TRUE(TickFor("a", 3).may_rise) << "the operator decides";
}

TEST_F(WeightPolicyTest, SlowerEndpointGainsNoShare) {
  for (const char* id : {"a", "b", "c"}) {
    Add(id);
    waits_[id] = absl::Milliseconds(10);
  }
  EXPECT_TRUE(TickFor("a", 0).may_rise);
  waits_["a"] = absl::Milliseconds(15);
  EXPECT_FALSE(TickFor("a", 1).may_rise);
  EXPECT_TRUE(TickFor("b", 2).may_rise);
}

}  // namespace
}  // namespace trunkline
