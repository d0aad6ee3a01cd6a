#include "tests/sim/pick_rule.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/random.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {
namespace {

class PickRuleTest : public testing::Test {
 protected:
  PickRuleTest() { truth_.servers.resize(3); }

  void Make(std::string_view name) {
    rule_ = MakeRule(name, truth_.servers.size(), truth_);
    for (size_t i = 0; i < truth_.servers.size(); ++i) rule_->Set(i, {.usable = true});
  }
  size_t Pick(std::vector<size_t> excluded = {}) { return rule_->Pick(random_, excluded); }
  // Returns the shares of many picks whose flows end at once.
  std::vector<double> Shares(int picks = 6000) {
    std::vector<double> shares(truth_.servers.size(), 0);
    for (int i = 0; i < picks; ++i) {
      const size_t picked = Pick();
      shares.at(picked) += 1.0 / picks;
      rule_->AddOwn(picked, 1);
      rule_->AddOwn(picked, -1);
    }
    return shares;
  }
  void Report(size_t server, double utilization, double requests) {
    truth_.servers[server].reported = true;
    truth_.servers[server].utilization = utilization;
    truth_.servers[server].requests_per_second = requests;
  }

  ClusterTruth truth_;
  std::unique_ptr<PickRule> rule_;
  FastRandom random_{1};
};

TEST_F(PickRuleTest, EveryRuleAvoidsWhatIsEjectedUnusableOrExcluded) {
  for (const std::string_view name : RuleNames()) {
    SCOPED_TRACE(std::string(name));
    for (ClusterTruth::Server& server : truth_.servers) server.capacity = 1;
    Make(name);
    if (IsAdaptive(name)) {
      rule_->SetWeights(std::make_shared<AliasTable>(std::vector<double>{1, 1, 1}), Monotonic(0));
    }
    rule_->Set(0, {.usable = true, .ejected = true});
    for (int i = 0; i < 50; ++i) EXPECT_NE(Pick(), 0u);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(Pick({1}), 2u);
    rule_->Set(2, {.usable = false});
    EXPECT_EQ(Pick(), 1u);
    rule_->Set(1, {.usable = false});
    EXPECT_FALSE(rule_->HasHealthy());
    EXPECT_EQ(Pick(), 0u) << "a doubtful server is better than none";
    rule_->Set(0, {.usable = false});
    EXPECT_EQ(Pick(), PickRule::kNone);
  }
}

TEST_F(PickRuleTest, LeastConnTakesTheShortestQueue) {
  Make("leastconn");
  for (const size_t server : {0, 0, 1}) rule_->AddOwn(server, 1);
  EXPECT_EQ(Pick(), 2u);
  rule_->AddOwn(2, 3);
  EXPECT_EQ(Pick(), 1u);
}

TEST_F(PickRuleTest, LeastConnTakesTurnsAmongIdleServers) {
  Make("leastconn");
  for (const double share : Shares()) EXPECT_NEAR(share, 1.0 / 3, 0.001);
}

TEST_F(PickRuleTest, RoundRobinDoesNotLookAtLoad) {
  Make("round_robin");
  rule_->AddOwn(0, 1000);
  for (const double share : Shares()) EXPECT_NEAR(share, 1.0 / 3, 0.001);
}

TEST_F(PickRuleTest, TwoRandomChoicesPreferTheShorterQueue) {
  for (const std::string_view name : {"random2", "least_request"}) {
    Make(name);
    rule_->AddOwn(0, 1000);
    const std::vector<double> shares = Shares(20'000);
    EXPECT_NEAR(shares[0], 1.0 / 9, 0.01) << name << ": only where both draws are it";
  }
}

TEST_F(PickRuleTest, AgentCheckFollowsIdleCpu) {
  Make("agent_check");
  Report(0, 0.9, 100);
  Report(1, 0.6, 100);
  Report(2, 0.5, 100);
  rule_->OnSecond(Monotonic(kSecond));
  EXPECT_NEAR(Shares()[0], 0.1, 0.01);
  EXPECT_NEAR(Shares()[2], 0.5, 0.01);
}

TEST_F(PickRuleTest, InverseUtilizationIsItsName) {
  Make("inverse_u");
  Report(0, 0.8, 100);
  Report(1, 0.4, 100);
  Report(2, 0.4, 100);
  rule_->OnSecond(Monotonic(kSecond));
  EXPECT_NEAR(Shares()[0], 0.2, 0.01);
}

TEST_F(PickRuleTest, A58MeasuresCapacityAfterItsBlackout) {
  Make("a58");
  Report(0, 0.5, 300);
  Report(1, 0.5, 100);
  Report(2, 0.25, 50);
  rule_->OnSecond(Monotonic(5 * kSecond));
  EXPECT_NEAR(Shares()[0], 1.0 / 3, 0.01);
  rule_->OnSecond(Monotonic(20 * kSecond));
  EXPECT_NEAR(Shares()[0], 0.6, 0.01);
  EXPECT_NEAR(Shares()[2], 0.2, 0.01);
}

TEST_F(PickRuleTest, LvsMovesTowardItsTarget) {
  Make("lvs_cbrt");
  Report(0, 1, 100);
  Report(1, 0, 100);
  Report(2, 0.95, 100);
  for (int i = 0; i < 10; ++i) rule_->OnSecond(Monotonic(kSecond));
  const std::vector<double> shares = Shares();
  EXPECT_LT(shares[0], shares[2]);
  EXPECT_GT(shares[1], shares[2]);
}

TEST_F(PickRuleTest, OraclesKnowTheTruth) {
  for (ClusterTruth::Server& server : truth_.servers) server.capacity = 1;
  truth_.servers[1].capacity = 4;
  truth_.servers[2].capacity = 0;
  Make("oracle_jsq");
  truth_.servers[1].in_flight = 2;
  EXPECT_EQ(Pick(), 1u);
  truth_.servers[1].in_flight = 4;
  EXPECT_EQ(Pick(), 0u);
  Make("oracle_leastconn");
  rule_->OnSecond(Monotonic(kSecond));
  rule_->AddOwn(0, 1);
  rule_->AddOwn(1, 3);
  rule_->AddOwn(2, 1);
  EXPECT_EQ(Pick(), 1u);
}

}  // namespace
}  // namespace trunkline::sim
