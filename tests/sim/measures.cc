#include "tests/sim/measures.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

constexpr size_t kWindow = 5;  // seconds
constexpr double kSettledImbalance = 1.15;
constexpr size_t kSettledSeconds = 10;

double MeanUtilization(const std::vector<ServerSecond>& seconds, size_t from, size_t to) {
  double sum = 0;
  for (size_t i = from; i < to; ++i) sum += seconds[i].utilization;
  return to > from ? sum / static_cast<double>(to - from) : 0;
}

double Imbalance(const RunResult& result, size_t from, size_t to) {
  double sum = 0, largest = 0;
  for (const std::vector<ServerSecond>& server : result.seconds) {
    const double mean = MeanUtilization(server, from, to);
    sum += mean;
    largest = std::max(largest, mean);
  }
  return sum > 0 ? largest / (sum / static_cast<double>(result.seconds.size())) : 0;
}

double WeightError(const RunResult& result, size_t from, size_t to) {
  std::vector<double> given(result.seconds.size(), 0), due(result.seconds.size(), 0);
  for (size_t second = from; second < to; ++second) {
    double capacity = 0;
    for (const auto& server : result.seconds) capacity += server[second].capacity;
    if (capacity <= 0) continue;
    for (size_t i = 0; i < result.seconds.size(); ++i) {
      given[i] += result.seconds[i][second].share;
      due[i] += result.seconds[i][second].capacity / capacity;
    }
  }
  double largest = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    if (due[i] > 0) largest = std::max(largest, std::abs(given[i] / due[i] - 1));
  }
  return largest;
}

double Swing(const RunResult& result, size_t from, size_t to) {
  double widest = 0;
  for (const std::vector<ServerSecond>& server : result.seconds) {
    double low = 1, high = 0;
    for (size_t i = from; i + kWindow <= to; i += kWindow) {
      const double mean = MeanUtilization(server, i, i + kWindow);
      low = std::min(low, mean);
      high = std::max(high, mean);
    }
    widest = std::max(widest, high - low);
  }
  return widest;
}

double Settle(const RunResult& result, size_t from, size_t to) {
  size_t calm = 0;
  for (size_t end = from + kWindow; end <= to; ++end) {
    calm = Imbalance(result, end - kWindow, end) <= kSettledImbalance ? calm + 1 : 0;
    if (calm == kSettledSeconds) return static_cast<double>(end - kSettledSeconds + 1 - from);
  }
  return static_cast<double>(to - from);
}

}  // namespace

void LatencyCounts::Add(SimTime latency) {
  // The bits of an integer below its highest one are a mantissa.
  const auto nanos = static_cast<uint64_t>(std::max<SimTime>(latency, 1 << kBitsBelow));
  const int exponent = std::bit_width(nanos) - 1;
  const uint64_t below = (nanos >> (exponent - kBitsBelow)) & ((1 << kBitsBelow) - 1);
  ++buckets_[(static_cast<size_t>(exponent) << kBitsBelow) + below];
  ++count_;
}

void LatencyCounts::Merge(const LatencyCounts& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
}

double LatencyCounts::Quantile(double q) const {
  if (count_ == 0) return 0;
  auto left = static_cast<uint64_t>(q * static_cast<double>(count_));
  for (size_t i = 0; i < kBuckets; ++i) {
    if (left < buckets_[i]) {
      const size_t exponent = i >> kBitsBelow;
      const double part = static_cast<double>(i & ((1 << kBitsBelow) - 1)) / (1 << kBitsBelow);
      return static_cast<double>(uint64_t{1} << exponent) * (1 + part) * 1e-9;
    }
    left -= buckets_[i];
  }
  return 0;
}

Figures Evaluate(const Scenario& scenario, const RunResult& result) {
  const size_t recorded = result.seconds.empty() ? 0 : result.seconds.front().size();
  const auto second = [&](SimTime time) {
    return std::min(recorded, static_cast<size_t>(time / kSecond));
  };
  const size_t from = second(scenario.steady_from), to = second(scenario.steady_end());
  Figures figures;
  figures.imbalance = Imbalance(result, from, to);
  figures.weight_error = WeightError(result, from, to);
  figures.swing = Swing(result, from, to);
  figures.settle = Settle(result, second(scenario.settle_after), to);
  if (result.flows > 0) {
    figures.share = static_cast<double>(result.watched_flows) / static_cast<double>(result.flows);
  }
  return figures;
}

}  // namespace trunkline::sim
