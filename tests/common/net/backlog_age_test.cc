#include "common/net/backlog_age.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

MonotonicTime At(int seconds) { return MonotonicTime() + absl::Seconds(seconds); }

TEST(BacklogAgeTest, UnsentBytesAgeRegardlessOfLaterBytes) {
  BacklogAge age;
  age.Update(0, 100, At(1));
  age.Update(0, 500, At(2));
  age.Update(0, 900, At(3));
  EXPECT_EQ(age.since(), At(1));
}

TEST(BacklogAgeTest, ReaderOfAFewBytesAtATimeDoesNotLookFast) {
  BacklogAge age;
  age.Update(0, 1000, At(0));
  for (int i = 1; i < 1000; ++i) age.Update(1, 1000, At(i));
  EXPECT_EQ(age.since(), At(0));
  age.Update(1, 1000, At(1000));
  EXPECT_EQ(age.since(), At(1000)) << "all of the first bytes have left";
}

TEST(BacklogAgeTest, FastReaderOfManyBytesHasAYoungBacklog) {
  BacklogAge age;
  age.Update(0, 1000, At(0));
  for (int i = 1; i < 10; ++i) age.Update(1000, 1000, At(i));
  EXPECT_EQ(age.since(), At(9));
}

TEST(BacklogAgeTest, BytesAfterAnEmptyBacklogAreNew) {
  BacklogAge age;
  age.Update(0, 100, At(0));
  age.Update(100, 0, At(1));
  age.Update(0, 10, At(5));
  EXPECT_EQ(age.since(), At(5));
}

}  // namespace
}  // namespace trunkline
