#include "examples/metering/idle_list.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "common/base/clock.h"

namespace trunkline::metering {
namespace {

MonotonicTime At(int64_t seconds) { return MonotonicTime::FromNanos(seconds * 1'000'000'000); }

TEST(IdleListTest, KeyTouchedLongestAgoComesFirst) {
  IdleList list(8);
  EXPECT_EQ(list.OldestBefore(At(100)), -1);
  list.Touch(3, At(1));
  list.Touch(5, At(2));
  EXPECT_EQ(list.OldestBefore(At(100)), 3);
  EXPECT_EQ(list.OldestTouch(), At(1));
  list.Touch(3, At(3));
  EXPECT_EQ(list.OldestBefore(At(100)), 5);
  EXPECT_EQ(list.OldestTouch(), At(2));
}

TEST(IdleListTest, OnlyExpiredKeysAreFound) {
  IdleList list(8);
  list.Touch(3, At(5));
  EXPECT_EQ(list.OldestBefore(At(5)), -1);
  EXPECT_EQ(list.OldestBefore(At(6)), 3);
}

TEST(IdleListTest, RemovedKeysAreNotFound) {
  IdleList list(8);
  for (int key = 0; key < 8; ++key) list.Touch(key, At(key));
  list.Remove(0);
  list.Remove(4);
  list.Remove(4);
  std::vector<int> order;
  for (int key = list.OldestBefore(At(9)); key >= 0; key = list.OldestBefore(At(9))) {
    order.push_back(key);
    list.Remove(key);
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 5, 6, 7}));
  EXPECT_EQ(list.OldestTouch(), MonotonicTime::Infinite());
}

}  // namespace
}  // namespace trunkline::metering
