// The rule for clients that take their replies slowly.
#include "dataplane/message/slow_reader_rule.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "absl/time/time.h"
#include "dataplane/memory/memory_rule.h"

namespace trunkline {
namespace {

constexpr size_t kMuch = 20 * 1024 * 1024;
const absl::Duration kJustBefore = kStalledAfter - absl::Milliseconds(1);

SlowReaderAction Action(SlowReader reader) { return ActionFor(reader); }

TEST(SlowReaderRuleTest, ServerIsReadWhileLittleIsBuffered) {
  EXPECT_EQ(Action({.buffered_bytes = kHoldsUpBytes,
                    .age = absl::Hours(1),
                    .others_wait = true,
                    .one_at_a_time = true,
                    .memory_short = true}),
            SlowReaderAction::kReadOn);
}

TEST(SlowReaderRuleTest, ClientAloneOnItsConnectionStopsItsServerAndIsNeverReset) {
  for (const bool memory_short : {false, true}) {
    EXPECT_EQ(Action({.buffered_bytes = kHoldsUpBytes + 1,
                      .age = absl::Hours(1),
                      .memory_short = memory_short}),
              SlowReaderAction::kPause);
  }
}

TEST(SlowReaderRuleTest, ServerIsReadForOthersAsLongAsMemoryLasts) {
  SlowReader reader = {.buffered_bytes = kMuch, .age = kJustBefore, .others_wait = true};
  EXPECT_EQ(Action(reader), SlowReaderAction::kReadOn);
  reader.memory_short = true;
  EXPECT_EQ(Action(reader), SlowReaderAction::kPause);
}

TEST(SlowReaderRuleTest, OnlyRequestOfAConnectionHoldsUpNoOther) {
  EXPECT_EQ(Action({.buffered_bytes = kMuch,
                    .age = kJustBefore,
                    .others_wait = true,
                    .one_at_a_time = true}),
            SlowReaderAction::kPause);
}

TEST(SlowReaderRuleTest, StalledClientIsResetWhileOthersWait) {
  for (const bool one_at_a_time : {false, true}) {
    EXPECT_EQ(Action({.buffered_bytes = kHoldsUpBytes + 1,
                      .age = kStalledAfter,
                      .others_wait = true,
                      .one_at_a_time = one_at_a_time}),
              SlowReaderAction::kReset);
  }
}

}  // namespace
}  // namespace trunkline
