#include "controller/core/weight_history.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "controller/core/control_core.h"
#include "controller/core/load_model.h"
#include "controller/core/load_report.h"

namespace trunkline {
namespace {

// Codes of the logarithmic scale: 0 is unknown, 1 is zero, and kOne is 1. The scale covers 32
// powers of two on both sides of 1.
constexpr double kCodesPerDoubling = 1023;
constexpr double kZero = 1;
constexpr double kOne = 2 + 32 * kCodesPerDoubling;

constexpr auto kPointCount = static_cast<int64_t>(WeightHistory::kPoints);

size_t SlotOf(int64_t number) { return static_cast<size_t>(number % kPointCount); }

}  // namespace

WeightHistory::Packed WeightHistory::Pack(std::optional<double> value) {
  if (!value.has_value() || std::isnan(*value)) return 0;
  if (*value <= 0) return static_cast<Packed>(kZero);
  const double code = std::round(kOne + kCodesPerDoubling * std::log2(*value));
  return static_cast<Packed>(
      std::clamp(code, kZero + 1, double{std::numeric_limits<Packed>::max()}));
}

std::optional<double> WeightHistory::Unpack(Packed packed) {
  if (packed == 0) return std::nullopt;
  if (packed == static_cast<Packed>(kZero)) return 0;
  return std::exp2((packed - kOne) / kCodesPerDoubling);
}

WeightHistory::Sample WeightHistory::Take(const EndpointReason& reason) {
  Sample sample;
  sample.weight = Pack(reason.weight);
  const std::optional<ReportedLoad>& load = reason.endpoint.load;
  // A load that is no longer reported is not that of this moment.
  if (reason.endpoint.state == EndpointCondition::kFresh && load.has_value() && load->cpu_known) {
    sample.utilization = Pack(Utilization(*load));
  }
  if (!reason.load.traffic.has_value()) return sample;
  sample.error_share = Pack(reason.load.error_share);
  if (reason.load.traffic->first_byte.has_value()) {
    sample.wait_seconds = Pack(absl::ToDoubleSeconds(*reason.load.traffic->first_byte));
  }
  return sample;
}

void WeightHistory::Record(const ControllerView& view, MonotonicTime now) {
  if (recorded_at_.has_value()) {
    const int64_t steps = (now - *recorded_at_) / kStep;
    if (steps < 1) return AddNew(view);
    newest_ += steps;
    recorded_at_ = *recorded_at_ + steps * kStep;
  } else {
    recorded_at_ = now;
  }
  seen_ = 0;
  for (const ServiceReason& service : view.services) {
    for (const EndpointReason& reason : service.endpoints) Add(reason);
    seen_ += service.endpoints.size();
  }
  DropGone();
}

void WeightHistory::AddNew(const ControllerView& view) {
  size_t endpoints = 0;
  for (const ServiceReason& service : view.services) endpoints += service.endpoints.size();
  // At every tick, so it must be cheap as long as none came.
  if (endpoints <= seen_) return;
  for (const ServiceReason& service : view.services) {
    for (const EndpointReason& reason : service.endpoints) {
      if (!series_.contains(reason.endpoint.key)) Add(reason);
    }
  }
  seen_ = endpoints;
}

void WeightHistory::Add(const EndpointReason& reason) {
  const auto [place, added] = series_.try_emplace(reason.endpoint.key);
  Series& series = place->second;
  if (added) series.first = series.last = newest_;
  // The slots of points that were missed have samples of an hour ago.
  const int64_t oldest = std::max(series.last + 1, newest_ - kPointCount + 1);
  for (int64_t missed = oldest; missed < newest_; ++missed) series.samples[SlotOf(missed)] = {};
  series.samples[SlotOf(newest_)] = Take(reason);
  series.last = newest_;
}

void WeightHistory::DropGone() {
  const bool crowded = series_.size() > kMaxClusterEndpoints;
  std::erase_if(series_, [&](const auto& entry) {
    const int64_t last = entry.second.last;
    return last <= newest_ - kPointCount || (crowded && last != newest_);
  });
}

std::optional<absl::Duration> WeightHistory::Age(MonotonicTime now) const {
  if (!recorded_at_.has_value()) return std::nullopt;
  return now - *recorded_at_;
}

std::vector<HistoryPoint> WeightHistory::PointsOf(const EndpointKey& key) const {
  std::vector<HistoryPoint> points;
  const auto found = series_.find(key);
  if (found == series_.end()) return points;
  const Series& series = found->second;
  for (int64_t i = std::max(series.first, newest_ - kPointCount + 1); i <= newest_; ++i) {
    HistoryPoint& point = points.emplace_back();
    if (i > series.last) continue;
    const Sample& sample = series.samples[SlotOf(i)];
    point = {.weight = Unpack(sample.weight),
             .utilization = Unpack(sample.utilization),
             .error_share = Unpack(sample.error_share),
             .wait_seconds = Unpack(sample.wait_seconds)};
  }
  return points;
}

std::vector<const EndpointKey*> WeightHistory::EndpointsAfter(
    const std::optional<EndpointKey>& key) const {
  std::vector<const EndpointKey*> keys;
  auto place = key.has_value() ? series_.upper_bound(*key) : series_.begin();
  for (; place != series_.end(); ++place) keys.push_back(&place->first);
  return keys;
}

}  // namespace trunkline
