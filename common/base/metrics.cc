#include "common/base/metrics.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace trunkline {
namespace {

constexpr double kNanosPerSecond = 1e9;

void AddRelaxed(std::atomic<uint64_t>& value, uint64_t n) {
  value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

void LatencyHistogram::Record(int64_t nanos) {
  const uint64_t elapsed = static_cast<uint64_t>(std::max<int64_t>(nanos, 0));
  const uint64_t micros = elapsed / 1000 + (elapsed % 1000 != 0);
  const size_t bucket = micros <= 1 ? 0 : static_cast<size_t>(std::bit_width(micros - 1));
  AddRelaxed(counts_[std::min(bucket, kBounds)], 1);
  AddRelaxed(sum_nanos_, elapsed);
}

LatencyHistogram::Values LatencyHistogram::Read() const {
  Values values;
  for (size_t i = 0; i <= kBounds; ++i) {
    values.counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  values.sum_seconds =
      static_cast<double>(sum_nanos_.load(std::memory_order_relaxed)) / kNanosPerSecond;
  return values;
}

LatencyHistogram::Values& LatencyHistogram::Values::operator+=(const Values& other) {
  for (size_t i = 0; i <= kBounds; ++i) counts[i] += other.counts[i];
  sum_seconds += other.sum_seconds;
  return *this;
}

}  // namespace trunkline
