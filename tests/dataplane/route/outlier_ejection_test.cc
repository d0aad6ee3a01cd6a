#include "dataplane/route/outlier_ejection.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {
namespace {

constexpr double kNoJitter = 0.5;

MonotonicTime At(absl::Duration since_start) { return MonotonicTime() + since_start; }

class OutlierEjectionTest : public ::testing::Test {
 protected:
  // Refuses connects until the endpoint is ejected, and returns how many it took.
  int EjectAt(MonotonicTime now, double uniform = kNoJitter) {
    int refusals = 1;
    while (!ejection_.OnFailed(record_, now, uniform)) ++refusals;
    return refusals;
  }

  OutlierEjection ejection_;
  OutlierEjection::Record record_;
};

TEST_F(OutlierEjectionTest, FiveRefusalsInARowEject) {
  EXPECT_EQ(EjectAt(At({})), 5);
  EXPECT_TRUE(record_.ejected);
}

TEST_F(OutlierEjectionTest, SuccessInBetweenStartsTheCountAgain) {
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(ejection_.OnFailed(record_, At({}), kNoJitter));
  ejection_.OnConnected(record_);
  EXPECT_EQ(EjectAt(At({})), 5);
}

TEST_F(OutlierEjectionTest, EndsAfterItsTimeAndNotBefore) {
  EjectAt(At({}));
  EXPECT_FALSE(ejection_.End(record_, At(absl::Milliseconds(4'999))));
  EXPECT_TRUE(ejection_.End(record_, At(absl::Seconds(5))));
  EXPECT_FALSE(record_.ejected);
  EXPECT_FALSE(ejection_.End(record_, At(absl::Seconds(6)))) << "the ejection is over already";
}

TEST_F(OutlierEjectionTest, RefusalsWhileEjectedDoNotEjectTwice) {
  EjectAt(At({}));
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(ejection_.OnFailed(record_, At({}), kNoJitter));
  EXPECT_TRUE(ejection_.End(record_, At(absl::Seconds(5))));
}

TEST_F(OutlierEjectionTest, TimeGrowsWithEachEjectionUpToTheLimit) {
  MonotonicTime now;
  for (int i = 1; i <= 100; ++i) {
    EjectAt(now);
    const absl::Duration expected = std::min(absl::Seconds(5) * i, absl::Seconds(300));
    EXPECT_EQ(ejection_.Duration(record_), expected);
    EXPECT_EQ(record_.until - now, expected);
    now = record_.until;
    ASSERT_TRUE(ejection_.End(record_, now));
  }
  ejection_.OnConnected(record_);
  EjectAt(now);
  EXPECT_EQ(ejection_.Duration(record_), absl::Seconds(5)) << "a success resets the record";
}

TEST_F(OutlierEjectionTest, JitterIsTenPercentEitherWay) {
  EjectAt(At({}), 0);
  EXPECT_EQ(record_.until, At(absl::Milliseconds(4'500)));
  record_ = {};
  EjectAt(At({}), 1);
  EXPECT_EQ(record_.until, At(absl::Milliseconds(5'500)));
}

}  // namespace
}  // namespace trunkline
