#include "controller/core/weight_policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace trunkline {

double WeightPolicy::MemoryFactor(double memory_utilization) {
  const double full =
      std::clamp((memory_utilization - kMemoryFree) / (kMemoryFull - kMemoryFree), 0.0, 1.0);
  return 1 - full * (1 - kMemoryFloor);
}

void WeightPolicy::Restore(const std::string& endpoint_id, uint64_t incarnation,
                           absl::Duration ramp_progress, MonotonicTime now) {
  Ramp& ramp = ramps_[endpoint_id];
  ramp.incarnation = incarnation;
  ramp.progress = std::clamp(ramp_progress, absl::ZeroDuration(), ramp_);
  ramp.age = ramp.progress;
  ramp.ticked_at = now;
  ramp.begun = true;
}

absl::Duration WeightPolicy::RampProgress(const std::string& endpoint_id) const {
  auto ramp = ramps_.find(endpoint_id);
  return ramp == ramps_.end() ? absl::ZeroDuration() : ramp->second.progress;
}

std::vector<ProposedWeight> WeightPolicy::Tick(const std::vector<WeightedEndpoint>& endpoints,
                                               const LoadModel& model, MonotonicTime now) {
  FollowMembership(endpoints, now);
  std::vector<ProposedWeight> proposed;
  proposed.reserve(endpoints.size());
  for (const WeightedEndpoint& weighted : endpoints) {
    const RegisteredEndpoint& endpoint = *weighted.endpoint;
    const std::string& id = endpoint.key.endpoint_id;
    Advance(endpoint, model, now);
    ProposedWeight& weight = proposed.emplace_back();
    weight.endpoint_id = id;
    weight.base = Base(endpoint, model.estimate(id));
    weight.ramp = RampFactor(id);
    if (kind_ == PolicyKind::kAdaptive && endpoint.load.has_value()) {
      weight.memory = MemoryFactor(endpoint.load->memory_utilization);
    }
    weight.value = weight.base * weight.memory * weight.ramp;
    weight.draining = endpoint.draining;
    weight.pin = endpoint.pin;
    weight.reachable = !endpoint.load.has_value() || endpoint.load->reachable;
    weight.may_rise = endpoint.state != EndpointCondition::kStale;
  }
  return proposed;
}

void WeightPolicy::FollowMembership(const std::vector<WeightedEndpoint>& endpoints,
                                    MonotonicTime now) {
  std::map<std::string, Ramp> present;
  for (const WeightedEndpoint& weighted : endpoints) {
    auto node = ramps_.extract(weighted.endpoint->key.endpoint_id);
    if (!node.empty()) present.insert(std::move(node));
  }
  ramps_ = std::move(present);
  const bool others_carry = std::any_of(
      endpoints.begin(), endpoints.end(),
      [&](const WeightedEndpoint& weighted) { return Established(*weighted.endpoint); });
  for (const WeightedEndpoint& weighted : endpoints) {
    const RegisteredEndpoint& endpoint = *weighted.endpoint;
    Ramp& ramp = ramps_[endpoint.key.endpoint_id];
    if (ramp.begun && ramp.incarnation == endpoint.incarnation) continue;
    ramp.begun = true;
    ramp.incarnation = endpoint.incarnation;
    ramp.age = absl::ZeroDuration();
    ramp.ticked_at = now;
    ramp.progress = others_carry ? absl::ZeroDuration() : ramp_;
  }
}

bool WeightPolicy::Established(const RegisteredEndpoint& endpoint) const {
  const bool serves =
      endpoint.state == EndpointCondition::kFresh || endpoint.state == EndpointCondition::kStale;
  if (!serves || endpoint.draining) return false;
  if (endpoint.load.has_value() && !endpoint.load->reachable) return false;
  auto found = ramps_.find(endpoint.key.endpoint_id);
  if (found == ramps_.end() || found->second.incarnation != endpoint.incarnation) return false;
  return found->second.age >= ramp_ && found->second.progress >= ramp_;
}

void WeightPolicy::Advance(const RegisteredEndpoint& endpoint, const LoadModel& model,
                           MonotonicTime now) {
  Ramp& ramp = ramps_.at(endpoint.key.endpoint_id);
  const absl::Duration dt = now - std::exchange(ramp.ticked_at, now);
  if (endpoint.state != EndpointCondition::kFresh || !endpoint.load.has_value()) return;
  ramp.age += dt;
  const bool keeps_up =
      Utilization(*endpoint.load) <= model.service().mean_utilization + kRampMargin;
  if (!keeps_up || !endpoint.load->reachable || model.service().frozen()) return;
  ramp.progress = std::min(ramp_, ramp.progress + dt);
}

double WeightPolicy::RampFactor(const std::string& endpoint_id) const {
  const Ramp& ramp = ramps_.at(endpoint_id);
  if (ramp.progress >= ramp_) return 1;
  return std::max(kRampStart, absl::FDivDuration(ramp.progress, ramp_));
}

double WeightPolicy::Base(const RegisteredEndpoint& endpoint, const LoadEstimate& estimate) const {
  switch (kind_) {
    case PolicyKind::kAdaptive:
      return estimate.capacity * std::exp(estimate.theta);
    case PolicyKind::kStatic:
      return endpoint.operator_capacity > 0 ? endpoint.operator_capacity : 1;
    case PolicyKind::kRoundRobin:
      return 1;
  }
  return 1;
}

}  // namespace trunkline
