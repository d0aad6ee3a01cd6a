// Matching of replies and requests: in order, by id, with ids that wrap and requests that stay
// unanswered for long.
#include "dataplane/message/pending_replies.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/random.h"

namespace trunkline {
namespace {

constexpr unsigned kNoId = 64;
using Pending = PendingReplies<std::string>;

TEST(PendingRepliesTest, RepliesInOrderBelongToTheOldest) {
  Pending pending(/*capacity=*/3, kNoId);
  for (int round = 0; round < 10; ++round) {
    for (const char* name : {"a", "b", "c"}) pending.Add(name);
    EXPECT_TRUE(pending.full());
    for (const char* name : {"a", "b", "c"}) {
      EXPECT_EQ(pending.front(), name);
      EXPECT_EQ(pending.TakeFront(), name);
    }
    EXPECT_TRUE(pending.empty());
  }
}

TEST(PendingRepliesTest, CapacityNeedNotBeAPowerOfTwo) {
  Pending pending(/*capacity=*/5, kNoId);
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(pending.full());
    pending.Add(std::to_string(i));
  }
  EXPECT_TRUE(pending.full());
  EXPECT_EQ(pending.size(), 5u);
}

TEST(PendingRepliesTest, CapacityOfOneTakesTurns) {
  Pending pending(/*capacity=*/1, kNoId);
  for (int i = 0; i < 5; ++i) {
    pending.Add(std::to_string(i));
    EXPECT_TRUE(pending.full());
    EXPECT_EQ(pending.TakeFront(), std::to_string(i));
  }
}

TEST(PendingRepliesTest, RepliesWithIdsComeInAnyOrder) {
  Pending pending(/*capacity=*/4, /*id_bits=*/16);
  const uint64_t a = pending.Add("a");
  const uint64_t b = pending.Add("b");
  const uint64_t c = pending.Add("c");
  EXPECT_EQ(*pending.Find(b), "b");
  EXPECT_EQ(pending.TakeId(b), "b");
  EXPECT_EQ(pending.Find(b), nullptr);
  EXPECT_EQ(pending.front(), "a");
  EXPECT_EQ(pending.TakeId(a), "a");
  EXPECT_EQ(pending.front(), "c");
  EXPECT_EQ(pending.TakeId(c), "c");
}

TEST(PendingRepliesTest, UnknownIdMatchesNoRequest) {
  Pending pending(/*capacity=*/4, /*id_bits=*/16);
  const uint64_t id = pending.Add("a");
  for (uint64_t other = 0; other < 65536; ++other) {
    if (other != id) {
      ASSERT_EQ(pending.Find(other), nullptr) << other;
    }
  }
}

TEST(PendingRepliesTest, LateReplyDoesNotMatchTheNextRequestInItsSlot) {
  Pending pending(/*capacity=*/4, /*id_bits=*/16);
  const uint64_t given_up = pending.Add("slow");
  pending.TakeFront();
  for (int i = 0; i < 4; ++i) pending.Add("later");
  EXPECT_EQ(pending.Find(given_up), nullptr);
}

TEST(PendingRepliesTest, IdIsReusedOnlyAfterAllOthers) {
  Pending pending(/*capacity=*/8, /*id_bits=*/8);
  std::vector<uint64_t> last_use(256, 0);
  for (uint64_t i = 1; i <= 10'000; ++i) {
    const uint64_t id = pending.Add("x");
    ASSERT_LT(id, 256u);
    if (last_use[id] > 0) {
      ASSERT_GE(i - last_use[id], 256u - 8);
    }
    last_use[id] = i;
    if (i % 3 != 0 || pending.full()) pending.TakeFront();
  }
}

TEST(PendingRepliesTest, UnansweredRequestKeepsItsIdWhileOthersWrapAround) {
  Pending pending(/*capacity=*/4, /*id_bits=*/8);
  pending.Add("before");
  const uint64_t straggler = pending.Add("straggler");
  pending.TakeFront();
  for (int i = 0; i < 1000; ++i) {
    const uint64_t id = pending.Add("quick");
    ASSERT_NE(id, straggler);
    ASSERT_EQ(pending.front(), "straggler");
    ASSERT_EQ(pending.TakeId(id), "quick");
  }
  EXPECT_EQ(pending.TakeId(straggler), "straggler");
  EXPECT_TRUE(pending.empty());
}

TEST(PendingRepliesTest, EveryRequestIsVisitedOnceBesideAnOldOne) {
  Pending pending(/*capacity=*/4, /*id_bits=*/16);
  pending.Add("straggler");
  for (int i = 0; i < 50'000; ++i) pending.TakeId(pending.Add("quick"));
  pending.Add("a");
  pending.Add("b");
  std::multimap<std::string, int> seen;
  pending.ForEach([&](const std::string& name) { seen.emplace(name, 0); });
  EXPECT_EQ(seen.size(), 3u);
  for (const char* name : {"straggler", "a", "b"}) EXPECT_EQ(seen.count(name), 1u) << name;
}

// Abandon visits all requests. Beside one slow request, a visit must not take a step for each
// number that was used meanwhile; otherwise, this test takes minutes.
TEST(PendingRepliesTest, VisitBesideAnOldRequestIsCheap) {
  Pending pending(/*capacity=*/256, /*id_bits=*/32);
  pending.Add("straggler");
  for (int i = 0; i < 5'000'000; ++i) pending.TakeId(pending.Add(std::string()));
  size_t visited = 0;
  for (int i = 0; i < 100'000; ++i) pending.ForEach([&](const std::string&) { ++visited; });
  EXPECT_EQ(visited, 100'000u);
}

TEST(PendingRepliesTest, RandomOperationsMatchTheModel) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FastRandom random(seed);
    const size_t capacity = 1 + random.Next() % 100;
    Pending pending(capacity, /*id_bits=*/16);
    std::map<uint64_t, std::string> model;
    std::vector<uint64_t> order;
    for (int i = 0; i < 5000; ++i) {
      if (!pending.full() && random.Next() % 2 == 0) {
        const std::string name = std::to_string(random.Next());
        const uint64_t id = pending.Add(name);
        ASSERT_TRUE(model.emplace(id, name).second) << "an id is used twice at once";
        order.push_back(id);
      } else if (!order.empty()) {
        const size_t which = random.Next() % 4 == 0 ? 0 : random.Next() % order.size();
        const uint64_t id = order[which];
        ASSERT_EQ(which == 0 ? pending.TakeFront() : pending.TakeId(id), model.at(id));
        model.erase(id);
        order.erase(order.begin() + static_cast<ptrdiff_t>(which));
      }
      ASSERT_EQ(pending.size(), model.size());
      if (!order.empty()) {
        ASSERT_EQ(pending.front(), model.at(order.front()));
      }
    }
  }
}

}  // namespace
}  // namespace trunkline
