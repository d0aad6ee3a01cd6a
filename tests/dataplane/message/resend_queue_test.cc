#include "dataplane/message/resend_queue.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "common/base/clock.h"
#include "dataplane/codec/codec.h"

namespace trunkline {
namespace {

ResendQueue::Request Named(char name, int64_t since = 1) {
  return {.bytes = {static_cast<uint8_t>(name)},
          .reply_hint = 0,
          .repeatable = true,
          .replies = Replies::kOne,
          .written = true,
          .since = MonotonicTime::FromNanos(since)};
}

std::string TakeAll(ResendQueue& queue) {
  std::string names;
  while (!queue.empty()) names += static_cast<char>(queue.Take().bytes.front());
  return names;
}

TEST(ResendQueueTest, RequestsReturnedByALaterConnectionGoFirst) {
  ResendQueue queue;
  for (char name : std::string("abcd")) queue.Return(Named(name), name == 'd');
  // Two are sent on the next connection, which fails as well.
  EXPECT_EQ(queue.Take().bytes.front(), 'a');
  EXPECT_EQ(queue.Take().bytes.front(), 'b');
  queue.Return(Named('a'), false);
  queue.Return(Named('b'), true);
  EXPECT_EQ(TakeAll(queue), "abcd");
}

TEST(ResendQueueTest, TakingARequestEndsTheReturnsOfAConnection) {
  ResendQueue queue;
  queue.Return(Named('b'), false);
  EXPECT_EQ(TakeAll(queue), "b");
  queue.Return(Named('a'), true);
  EXPECT_EQ(TakeAll(queue), "a");
}

TEST(ResendQueueTest, AgeIsThatOfTheOldestRequestAtAnyPosition) {
  ResendQueue queue;
  EXPECT_EQ(queue.since(), MonotonicTime::Infinite());
  queue.Return(Named('b', 10), true);
  queue.Return(Named('a', 20), true);
  EXPECT_EQ(queue.since(), MonotonicTime::FromNanos(10));
  EXPECT_EQ(queue.bytes(), 2u);
}

}  // namespace
}  // namespace trunkline
