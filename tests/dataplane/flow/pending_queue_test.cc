#include "dataplane/flow/pending_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/random.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;

struct Item : PendingQueue<Item>::Entry {
  explicit Item(int number) : number(number) {}
  int number;
};
using Queue = PendingQueue<Item>;

std::vector<int> Drain(Queue& queue) {
  std::vector<int> numbers;
  while (Item* item = queue.front()) {
    numbers.push_back(item->number);
    queue.Remove(*item);
  }
  return numbers;
}

TEST(PendingQueueTest, ServesInTheOrderOfArrival) {
  Item a(1);
  Item b(2);
  Item c(3);
  Queue queue(10);
  for (Item* item : {&a, &b, &c}) EXPECT_TRUE(queue.Push(*item));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_TRUE(b.pending());
  EXPECT_THAT(Drain(queue), ElementsAre(1, 2, 3));
  EXPECT_FALSE(b.pending());
  EXPECT_TRUE(queue.empty());
}

TEST(PendingQueueTest, RemovalAtAnyPositionKeepsTheOrder) {
  for (const int leaving : {1, 2, 3}) {
    std::deque<Item> items;
    Queue queue(10);
    for (int i = 1; i <= 3; ++i) EXPECT_TRUE(queue.Push(items.emplace_back(i)));
    queue.Remove(items[static_cast<size_t>(leaving - 1)]);
    queue.Remove(items[static_cast<size_t>(leaving - 1)]);  // a second removal does nothing
    std::vector<int> expected = {1, 2, 3};
    std::erase(expected, leaving);
    EXPECT_EQ(Drain(queue), expected);
  }
}

TEST(PendingQueueTest, FullQueueRefusesNewItemsAndKeepsItsOwn) {
  Item a(1);
  Item b(2);
  Queue queue(1);
  EXPECT_TRUE(queue.Push(a));
  EXPECT_FALSE(queue.Push(b));
  EXPECT_FALSE(b.pending());
  EXPECT_THAT(Drain(queue), ElementsAre(1));
  EXPECT_TRUE(queue.Push(b));
}

TEST(PendingQueueTest, DestroyedItemLeavesItsQueue) {
  Item a(1);
  Queue queue(10);
  auto b = std::make_unique<Item>(2);
  EXPECT_TRUE(queue.Push(a));
  EXPECT_TRUE(queue.Push(*b));
  b.reset();
  EXPECT_THAT(Drain(queue), ElementsAre(1));
}

TEST(PendingQueueTest, ItemsMayOutliveTheirQueue) {
  Item a(1);
  std::optional<Queue> queue(10);
  EXPECT_TRUE(queue->Push(a));
  queue.reset();
  EXPECT_FALSE(a.pending());
}

TEST(PendingQueueTest, RandomOperationsAgreeWithAPlainList) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  FastRandom random(kSeed);
  std::deque<Item> items;
  for (int i = 0; i < 50; ++i) items.emplace_back(i);
  Queue queue(30);
  std::vector<int> model;
  for (int step = 0; step < 20'000; ++step) {
    Item& item = items[random.Next() % items.size()];
    if (item.pending()) {
      queue.Remove(item);
      std::erase(model, item.number);
    } else if (queue.Push(item)) {
      model.push_back(item.number);
    } else {
      ASSERT_EQ(model.size(), 30u);
    }
    ASSERT_EQ(queue.size(), model.size());
    if (!model.empty()) {
      ASSERT_EQ(queue.front()->number, model.front());
    }
  }
  EXPECT_EQ(Drain(queue), model);
}

}  // namespace
}  // namespace trunkline
