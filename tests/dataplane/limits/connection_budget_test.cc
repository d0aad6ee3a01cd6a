// The budget of connections to a server that accepts only a few.
#include "dataplane/limits/connection_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace trunkline {
namespace {

TEST(ConnectionBudgetTest, NoConnectionBeyondTheLimit) {
  ConnectionBudget budget;
  EXPECT_TRUE(budget.Take(2));
  EXPECT_TRUE(budget.Take(2));
  EXPECT_FALSE(budget.Take(2));
  budget.Give();
  EXPECT_TRUE(budget.Take(2));
  EXPECT_EQ(budget.used(), 2u);
}

TEST(ConnectionBudgetTest, LoweredLimitHoldsForNewConnections) {
  ConnectionBudget budget;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(budget.Take(5));
  EXPECT_FALSE(budget.Take(3));
  for (int i = 0; i < 3; ++i) budget.Give();
  EXPECT_TRUE(budget.Take(3));
  EXPECT_FALSE(budget.Take(3));
}

TEST(ConnectionBudgetTest, WithoutALimitConnectionsAreStillCounted) {
  ConnectionBudget budget;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(budget.Take(0));
  EXPECT_EQ(budget.used(), 1000u);
}

TEST(ConnectionLeaseTest, ReturnsItsConnectionOnce) {
  const auto budget = std::make_shared<ConnectionBudget>();
  {
    ConnectionLease lease(budget, 1);
    EXPECT_TRUE(lease);
    EXPECT_FALSE(ConnectionLease(budget, 1));
    ConnectionLease moved(std::move(lease));
    EXPECT_TRUE(moved);
    EXPECT_EQ(budget->used(), 1u);
    moved.Reset();
    EXPECT_FALSE(moved);
    EXPECT_EQ(budget->used(), 0u);
    moved.Reset();
  }
  EXPECT_EQ(budget->used(), 0u);
}

TEST(ConnectionLeaseTest, AssignmentReturnsTheOldConnection) {
  const auto one = std::make_shared<ConnectionBudget>();
  const auto other = std::make_shared<ConnectionBudget>();
  ConnectionLease lease(one, 1);
  lease = ConnectionLease(other, 1);
  EXPECT_EQ(one->used(), 0u);
  EXPECT_EQ(other->used(), 1u);
}

TEST(ConnectionLeaseTest, LeaseWithoutABudgetIsEmpty) {
  EXPECT_FALSE(ConnectionLease(nullptr, 0));
  EXPECT_FALSE(ConnectionLease());
}

TEST(ConnectionBudgetTest, ThreadsTogetherNeverExceedTheLimit) {
  constexpr uint32_t kLimit = 3;
  const auto budget = std::make_shared<ConnectionBudget>();
  std::atomic<uint32_t> held = 0;
  std::atomic<uint32_t> most = 0;
  std::atomic<uint64_t> taken = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        const ConnectionLease lease(budget, kLimit);
        if (!lease) continue;
        ++taken;
        const uint32_t now = ++held;
        uint32_t seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        --held;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, kLimit);
  EXPECT_GT(taken, 0u);
  EXPECT_EQ(budget->used(), 0u);
}

}  // namespace
}  // namespace trunkline
