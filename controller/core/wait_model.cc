#include "controller/core/wait_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/traffic_window.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

namespace {

// The median; of two middles the lower or the upper one.
enum class Middle { kLower, kUpper };
template <typename T>
T MedianOf(std::vector<T> values, Middle middle) {
  const size_t lower = (values.size() - 1) / 2;
  const size_t upper = values.size() / 2;
  const auto at = values.begin() + static_cast<ptrdiff_t>(middle == Middle::kLower ? lower : upper);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

// With two endpoints, neither is its own median: the slow one is compared with the lower middle,
// the fast one with the upper.
void WaitModel::Tick(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now) {
  entries_.Follow(endpoints, [](const std::string&, const Entry&) {});
  std::vector<double> growths, smooth_growths;
  std::vector<absl::Duration> waits, smooth_waits;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    Entry& entry = entries_[i];
    entry.wait.reset();
    entry.growth.reset();
    if (!endpoints[i].traffic.has_value()) continue;
    Measure(*endpoints[i].traffic, now, entry);
    // An endpoint with few clients has room, so what it took at best stands for it: if one endpoint
    // draws all the traffic, it must not be without comparison.
    const std::optional<absl::Duration> wait = entry.wait ? entry.wait : BaselineOf(entry);
    if (!wait.has_value()) continue;
    waits.push_back(*wait);
    smooth_waits.push_back(entry.smooth_wait.value_or(*wait));
    growths.push_back(entry.growth.value_or(1));
    smooth_growths.push_back(SmoothGrowth(entry).value_or(1));
  }
  median_growth_.reset();
  smooth_growth_.reset();
  upper_wait_.reset();
  lower_wait_.reset();
  if (waits.size() < kMinEndpoints) return;
  median_growth_ = MedianOf(std::move(growths), Middle::kLower);
  smooth_growth_ = MedianOf(std::move(smooth_growths), Middle::kLower);
  upper_wait_ = MedianOf(std::move(smooth_waits), Middle::kUpper);
  lower_wait_ = MedianOf(std::move(waits), Middle::kLower);
}

void WaitModel::Measure(const EndpointTraffic& traffic, MonotonicTime now, Entry& entry) {
  if (now - entry.period_began_at > kBaselineAge) {
    entry.shortest_before = std::exchange(entry.shortest, std::nullopt);
    entry.period_began_at = now;
  }
  std::optional<absl::Duration>& wait = entry.wait;
  if (traffic.first_byte.has_value() && traffic.answers >= kMinAnswers) {
    wait = std::max(*traffic.first_byte, kShortest);
    entry.shortest = entry.shortest ? std::min(*entry.shortest, *wait) : *wait;
  } else if (traffic.answers == 0 && traffic.in_flight >= 1) {
    // Nothing was answered within the measurement, so what waits has waited that long.
    wait = TrafficWindow::kMeasured * TrafficWindow::kBucket;
  }
  if (wait) Smooth(now, entry);
  const std::optional<absl::Duration> baseline = BaselineOf(entry);
  if (wait && baseline) entry.growth = std::max(1.0, absl::FDivDuration(*wait, *baseline));
}

void WaitModel::Smooth(MonotonicTime now, Entry& entry) {
  const absl::Duration since = now - std::exchange(entry.measured_at, now);
  const double kept = entry.smooth_wait ? std::exp(-absl::FDivDuration(since, kSmoothing)) : 0;
  entry.smooth_wait = kept * entry.smooth_wait.value_or(*entry.wait) + (1 - kept) * *entry.wait;
}

std::optional<absl::Duration> WaitModel::BaselineOf(const Entry& entry) {
  if (!entry.shortest || !entry.shortest_before) {
    return entry.shortest ? entry.shortest : entry.shortest_before;
  }
  return std::min(*entry.shortest, *entry.shortest_before);
}

std::optional<double> WaitModel::SmoothGrowth(const Entry& entry) {
  const std::optional<absl::Duration> baseline = BaselineOf(entry);
  if (!entry.smooth_wait || !baseline) return std::nullopt;
  return std::max(1.0, absl::FDivDuration(*entry.smooth_wait, *baseline));
}

std::optional<double> WaitModel::Excess(const std::string& endpoint_id) const {
  const Entry* entry = entries_.Find(endpoint_id);
  return entry != nullptr ? ExcessOf(*entry) : std::nullopt;
}

std::optional<double> WaitModel::ExcessOf(const Entry& entry) const {
  if (!median_growth_ || !entry.growth) return std::nullopt;
  const double longer = absl::FDivDuration(*entry.wait, *lower_wait_);
  return std::min(*entry.growth / *median_growth_, std::max(1.0, longer));
}

std::optional<bool> WaitModel::Faster(const std::string& endpoint_id) const {
  const Entry* entry = entries_.Find(endpoint_id);
  return entry != nullptr ? FasterOf(*entry) : std::nullopt;
}

std::optional<bool> WaitModel::FasterOf(const Entry& entry) const {
  if (!upper_wait_ || !entry.wait) return std::nullopt;
  if (*entry.smooth_wait <= kFaster * *upper_wait_) return true;
  return SmoothGrowth(entry).value_or(1) <= kFaster * *smooth_growth_;
}

}  // namespace trunkline
