#include "dataplane/route/retry_budget.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

TEST(RetryBudgetTest, AllowsABurstOfAHundredThenAFifthOfTheFlows) {
  RetryBudget budget;
  int retries = 0;
  while (budget.Withdraw()) ++retries;
  EXPECT_EQ(retries, 100);
  retries = 0;
  for (int flow = 0; flow < 1'000; ++flow) {
    budget.Deposit();
    if (budget.Withdraw()) ++retries;
  }
  EXPECT_NEAR(retries, 200, 1);
}

TEST(RetryBudgetTest, IdleTimeAddsNoMoreThanTheBurst) {
  RetryBudget budget;
  for (int flow = 0; flow < 10'000; ++flow) budget.Deposit();
  int retries = 0;
  while (budget.Withdraw()) ++retries;
  EXPECT_EQ(retries, 100);
}

}  // namespace
}  // namespace trunkline
