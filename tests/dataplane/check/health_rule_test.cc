#include "dataplane/check/health_rule.h"

#include <gtest/gtest.h>

#include <string>

namespace trunkline {
namespace {

using State = HealthRule::State;

// Records one check for each letter: p passes, f fails. Returns the letters of those that changed
// the state.
std::string Changes(HealthRule& rule, const std::string& checks) {
  std::string changes;
  for (const char check : checks) {
    if (rule.OnChecked(check == 'p')) changes += check;
  }
  return changes;
}

TEST(HealthRuleTest, FirstCheckDecides) {
  HealthRule good(2, 3);
  EXPECT_EQ(good.state(), State::kUnknown);
  EXPECT_EQ(Changes(good, "p"), "p");
  EXPECT_EQ(good.state(), State::kHealthy);
  HealthRule bad(2, 3);
  EXPECT_EQ(Changes(bad, "f"), "f");
  EXPECT_EQ(bad.state(), State::kUnhealthy);
}

TEST(HealthRuleTest, HealthyEndpointFallsAfterFailuresInARow) {
  HealthRule rule(2, 3);
  EXPECT_EQ(Changes(rule, "pffpffpff"), "p") << "never three in a row";
  EXPECT_EQ(Changes(rule, "f"), "f");
  EXPECT_EQ(rule.state(), State::kUnhealthy);
}

TEST(HealthRuleTest, UnhealthyEndpointRisesAfterPassesInARow) {
  HealthRule rule(2, 1);
  EXPECT_EQ(Changes(rule, "fpfpf"), "f") << "never two in a row";
  EXPECT_EQ(Changes(rule, "pp"), "p");
  EXPECT_EQ(rule.state(), State::kHealthy);
  EXPECT_EQ(Changes(rule, "f"), "f") << "fall is 1";
}

TEST(HealthRuleTest, NewLimitsKeepTheState) {
  HealthRule rule(2, 3);
  Changes(rule, "pff");
  rule.SetLimits(1, 1);
  EXPECT_EQ(rule.state(), State::kHealthy);
  EXPECT_EQ(Changes(rule, "f"), "f");
  EXPECT_EQ(Changes(rule, "p"), "p");
}

}  // namespace
}  // namespace trunkline
