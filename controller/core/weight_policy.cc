#include "controller/core/weight_policy.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/service_spec.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

double WeightPolicy::MemoryFactor(double memory_utilization) {
  const double full =
      std::clamp((memory_utilization - kMemoryFree) / (kMemoryFull - kMemoryFree), 0.0, 1.0);
  return 1 - full * (1 - kMemoryFloor);
}

void WeightPolicy::Restore(const std::string& endpoint_id, uint64_t incarnation,
                           absl::Duration slow_start_progress, MonotonicTime now) {
  SlowStart& slow_start = slow_starts_.Insert(endpoint_id);
  slow_start.incarnation = incarnation;
  slow_start.progress = std::clamp(slow_start_progress, absl::ZeroDuration(), slow_start_);
  slow_start.age = slow_start.progress;
  slow_start.ticked_at = now;
  slow_start.begun = true;
}

absl::Duration WeightPolicy::SlowStartProgress(const std::string& endpoint_id) const {
  const SlowStart* slow_start = slow_starts_.Find(endpoint_id);
  return slow_start == nullptr ? absl::ZeroDuration() : slow_start->progress;
}

std::vector<ProposedWeight> WeightPolicy::Tick(const std::vector<WeightedEndpoint>& endpoints,
                                               const LoadModel& model, MonotonicTime now) {
  FollowMembership(endpoints, now);
  std::vector<ProposedWeight> proposed;
  proposed.reserve(endpoints.size());
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    const EndpointEstimate& estimate = model.estimate_at(i);
    Advance(endpoint, model, now, slow_starts_[i]);
    ProposedWeight& weight = proposed.emplace_back();
    weight.endpoint_id = endpoint.key.endpoint_id;
    weight.base = Base(endpoint, estimate);
    weight.slow_start = SlowStartFactor(slow_starts_[i]);
    if (kind_ == BalancingPolicy::kAdaptive && endpoint.load.has_value()) {
      weight.memory = MemoryFactor(endpoint.load->memory_utilization.value_or(0));
    }
    weight.value = weight.base * weight.memory * weight.slow_start;
    weight.draining = endpoint.draining;
    weight.pin = endpoint.pin;
    weight.reachable = !endpoint.load.has_value() || endpoint.load->reachable;
    const bool held = estimate.hot || estimate.slower;
    weight.may_rise = endpoint.state != EndpointCondition::kStale &&
                      !(kind_ == BalancingPolicy::kAdaptive && held);
  }
  return proposed;
}

void WeightPolicy::FollowMembership(const std::vector<WeightedEndpoint>& endpoints,
                                    MonotonicTime now) {
  slow_starts_.Follow(endpoints, [](const std::string&, const SlowStart&) {});
  bool others_carry = false;
  for (size_t i = 0; i < endpoints.size() && !others_carry; ++i) {
    others_carry = Established(*endpoints[i].endpoint, slow_starts_[i]);
  }
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    SlowStart& slow_start = slow_starts_[i];
    if (slow_start.begun && slow_start.incarnation == endpoint.incarnation) continue;
    slow_start.begun = true;
    slow_start.incarnation = endpoint.incarnation;
    slow_start.age = absl::ZeroDuration();
    slow_start.ticked_at = now;
    slow_start.progress = others_carry ? absl::ZeroDuration() : slow_start_;
  }
}

bool WeightPolicy::Established(const RegisteredEndpoint& endpoint,
                               const SlowStart& slow_start) const {
  const bool serves =
      endpoint.state == EndpointCondition::kFresh || endpoint.state == EndpointCondition::kStale;
  if (!serves || endpoint.draining) return false;
  if (endpoint.load.has_value() && !endpoint.load->reachable) return false;
  if (!slow_start.begun || slow_start.incarnation != endpoint.incarnation) return false;
  return slow_start.age >= slow_start_ && slow_start.progress >= slow_start_;
}

void WeightPolicy::Advance(const RegisteredEndpoint& endpoint, const LoadModel& model,
                           MonotonicTime now, SlowStart& slow_start) const {
  const absl::Duration dt = now - std::exchange(slow_start.ticked_at, now);
  if (endpoint.state != EndpointCondition::kFresh || !endpoint.load.has_value()) return;
  slow_start.age += dt;
  const bool keeps_up =
      Utilization(*endpoint.load) <= model.service().median_utilization + kSlowStartMargin;
  if (!keeps_up || !endpoint.load->reachable || model.service().frozen()) return;
  slow_start.progress = std::min(slow_start_, slow_start.progress + dt);
}

double WeightPolicy::SlowStartFactor(const SlowStart& slow_start) const {
  if (slow_start.progress >= slow_start_) return 1;
  return std::max(kSlowStartFloor, absl::FDivDuration(slow_start.progress, slow_start_));
}

double WeightPolicy::Base(const RegisteredEndpoint& endpoint,
                          const EndpointEstimate& estimate) const {
  switch (kind_) {
    case BalancingPolicy::kAdaptive:
      return estimate.capacity * std::exp(estimate.theta);
    case BalancingPolicy::kRoundRobin:
      return 1;
    default:
      return endpoint.operator_capacity > 0 ? endpoint.operator_capacity : 1;
  }
}

}  // namespace trunkline
