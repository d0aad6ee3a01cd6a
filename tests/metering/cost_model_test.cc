#include "examples/metering/cost_model.h"

#include <gtest/gtest.h>
#include <time.h>

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {
namespace {

Reading ReadingOf(uint64_t meter, uint64_t sequence, Reading::Kind kind = Reading::PERIODIC) {
  Reading reading;
  reading.set_meter_id(meter);
  reading.set_sequence(sequence);
  reading.set_kind(kind);
  return reading;
}

CostModel Model(const std::string& cost, const std::string& tail) {
  CostModel model;
  EXPECT_TRUE(ParseCost(cost, &model).ok());
  EXPECT_TRUE(ParseTail(tail, &model).ok());
  return model;
}

TEST(CostModelTest, RangeAndTailAreParsed) {
  const CostModel model = Model("0.5ms-2ms", "1%:50ms");
  EXPECT_EQ(model.min, absl::Microseconds(500));
  EXPECT_EQ(model.max, absl::Milliseconds(2));
  EXPECT_DOUBLE_EQ(model.tail_share, 0.01);
  EXPECT_EQ(model.tail, absl::Milliseconds(50));
  EXPECT_EQ(Model("3ms", "").min, absl::Milliseconds(3));
  EXPECT_TRUE(Model("0", "").free());
}

TEST(CostModelTest, MalformedCostsAndTailsAreRefused) {
  CostModel model;
  for (const char* cost : {"", "fast", "2ms-1ms", "-1ms"}) {
    EXPECT_FALSE(ParseCost(cost, &model).ok()) << cost;
  }
  for (const char* tail : {"50ms", "101%:1ms", "-1%:1ms", "1%", "1%:x"}) {
    EXPECT_FALSE(ParseTail(tail, &model).ok()) << tail;
  }
}

TEST(CostModelTest, ResendCostsAsMuchAsTheFirstAttempt) {
  const CostModel model = Model("0.5ms-2ms", "1%:50ms");
  EXPECT_EQ(CostOf(model, ReadingOf(7, 9)), CostOf(model, ReadingOf(7, 9)));
  EXPECT_NE(CostOf(model, ReadingOf(7, 9)), CostOf(model, ReadingOf(7, 10)));
}

TEST(CostModelTest, MeanAndTailAreAsStated) {
  const CostModel model = Model("0.5ms-2ms", "1%:50ms");
  constexpr int kReadings = 100'000;
  int tail = 0;
  absl::Duration sum;
  for (int i = 1; i <= kReadings; ++i) {
    const absl::Duration cost = CostOf(model, ReadingOf(i % 1000 + 1, i));
    if (cost == absl::Milliseconds(50)) {
      ++tail;
    } else {
      sum += cost;
      EXPECT_GE(cost, absl::Microseconds(500));
      EXPECT_LE(cost, absl::Milliseconds(2));
    }
  }
  EXPECT_NEAR(tail, 1000, 160);  // sigma = sqrt(100000 * 0.01) = 32; the seed is fixed
  EXPECT_NEAR(absl::ToDoubleMilliseconds(sum / (kReadings - tail)), 1.25, 0.01);
}

TEST(CostModelTest, UploadCostsTenTimesAsMuch) {
  const CostModel model = Model("1ms", "");
  EXPECT_EQ(CostOf(model, ReadingOf(1, 1, Reading::UPLOAD)), absl::Milliseconds(10));
  EXPECT_EQ(CostOf(model, ReadingOf(1, 1, Reading::BACKFILL)), absl::Milliseconds(1));
}

TEST(CostModelTest, BurnCpuUsesTheCpuTimeItWasAskedFor) {
  timespec before, after;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  BurnCpu(absl::Milliseconds(5));
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  const absl::Duration used =
      absl::DurationFromTimespec(after) - absl::DurationFromTimespec(before);
  EXPECT_GE(used, absl::Milliseconds(5));
  EXPECT_LT(used, absl::Milliseconds(10));
}

}  // namespace
}  // namespace trunkline::metering
