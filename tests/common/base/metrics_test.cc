#include "common/base/metrics.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>

#include "absl/time/time.h"

namespace trunkline {
namespace {

// Returns the bucket that counts a single recorded value.
size_t BucketOf(int64_t nanos) {
  LatencyHistogram histogram;
  histogram.Record(nanos);
  const auto counts = histogram.Read().counts;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 1) return i;
  }
  ADD_FAILURE() << "not counted";
  return 0;
}

TEST(MetricsTest, CounterAndGaugeReturnTheValueWritten) {
  Counter counter;
  counter.Add();
  counter.Add(41);
  EXPECT_EQ(counter.Value(), 42u);
  Gauge gauge;
  gauge.Set(5);
  gauge.Add(-7);
  EXPECT_EQ(gauge.Value(), -2);
}

TEST(MetricsTest, ValueOnABoundBelongsToItsBucket) {
  for (size_t i = 0; i < LatencyHistogram::kBounds; ++i) {
    const int64_t bound = absl::ToInt64Nanoseconds(LatencyHistogram::Bound(i));
    EXPECT_EQ(BucketOf(bound), i);
    EXPECT_EQ(BucketOf(bound + 1), i + 1);
  }
}

TEST(MetricsTest, ExtremesLandInTheOuterBuckets) {
  EXPECT_EQ(BucketOf(0), 0u);
  EXPECT_EQ(BucketOf(-5), 0u);
  EXPECT_EQ(BucketOf(INT64_MAX), LatencyHistogram::kBounds);
}

TEST(MetricsTest, HistogramsOfWorkersAddUp) {
  LatencyHistogram one;
  LatencyHistogram two;
  one.Record(1'500'000'000);
  two.Record(500'000'000);
  two.Record(1'000);
  LatencyHistogram::Values sum = one.Read();
  sum += two.Read();
  EXPECT_EQ(std::accumulate(sum.counts.begin(), sum.counts.end(), uint64_t{0}), 3u);
  EXPECT_DOUBLE_EQ(sum.sum_seconds, 2.000001);
}

}  // namespace
}  // namespace trunkline
