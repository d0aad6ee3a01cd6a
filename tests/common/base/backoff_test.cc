#include "common/base/backoff.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace trunkline {
namespace {

Backoff FromOneToEightSeconds() {
  return Backoff({.initial = absl::Seconds(1), .max = absl::Seconds(8), .factor = 2});
}

TEST(BackoffTest, WaitsGrowToTheCapAndNoFurther) {
  Backoff backoff = FromOneToEightSeconds();
  // A draw of 0 takes the lower half of the base.
  for (const double seconds : {0.5, 1.0, 2.0, 4.0, 4.0, 4.0}) {
    EXPECT_EQ(backoff.Next(0), absl::Seconds(seconds));
  }
}

TEST(BackoffTest, WaitsAtTheCapStillDiffer) {
  Backoff backoff = FromOneToEightSeconds();
  for (int i = 0; i < 10; ++i) backoff.Next(0);
  EXPECT_EQ(backoff.Next(0), absl::Seconds(4));
  EXPECT_EQ(backoff.Next(0.5), absl::Seconds(6));
  EXPECT_LT(backoff.Next(0.999), absl::Seconds(8));
}

TEST(BackoffTest, SuccessStartsOver) {
  Backoff backoff = FromOneToEightSeconds();
  for (int i = 0; i < 10; ++i) backoff.Next(0);
  backoff.Reset();
  EXPECT_EQ(backoff.Next(0), absl::Seconds(0.5));
}

}  // namespace
}  // namespace trunkline
