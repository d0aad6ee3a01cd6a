#include "tests/sim/event_queue.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace trunkline::sim {
namespace {

class Log final : public EventHandler {
 public:
  explicit Log(EventQueue& queue) : queue_(queue) {}
  void OnEvent(uint32_t kind, uint64_t) override {
    seen.emplace_back(queue_.now(), kind);
    if (kind == 7) queue_.Add(queue_.now() - kSecond, *this, 8);
  }
  std::vector<std::pair<SimTime, uint32_t>> seen;

 private:
  EventQueue& queue_;
};

TEST(EventQueueTest, EventsRunInTheOrderOfTheirTimes) {
  EventQueue queue;
  Log log(queue);
  queue.Add(3, log, 3);
  queue.Add(1, log, 1);
  queue.Add(2, log, 2);
  queue.Run(10);
  EXPECT_EQ(log.seen, (std::vector<std::pair<SimTime, uint32_t>>{{1, 1}, {2, 2}, {3, 3}}));
  EXPECT_EQ(queue.now(), 10);
}

TEST(EventQueueTest, EventsOfOneTimeRunInTheOrderInWhichTheyWereAdded) {
  EventQueue queue;
  Log log(queue);
  for (uint32_t i = 0; i < 20; ++i) queue.Add(5, log, 100 + i);
  queue.Run(6);
  for (uint32_t i = 0; i < 20; ++i) EXPECT_EQ(log.seen.at(i).second, 100 + i);
}

TEST(EventQueueTest, EventOfThePastRunsNow) {
  EventQueue queue;
  Log log(queue);
  queue.Add(2 * kSecond, log, 7);
  queue.Run(3 * kSecond);
  EXPECT_EQ(log.seen.back(), std::make_pair(2 * kSecond, 8u));
}

TEST(EventQueueTest, EventAtTheEndIsLeftForTheNextRun) {
  EventQueue queue;
  Log log(queue);
  queue.Add(5, log, 1);
  queue.Run(5);
  EXPECT_TRUE(log.seen.empty());
  queue.Run(6);
  EXPECT_EQ(log.seen.size(), 1u);
}

}  // namespace
}  // namespace trunkline::sim
