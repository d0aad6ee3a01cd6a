#include "controller/core/weight_limiter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/weight_policy.h"

namespace trunkline {

double WeightLimiter::Quantise(double weight) {
  if (weight <= 0) return 0;
  const double digits = 2 - std::floor(std::log10(weight));
  // Whole powers of ten are exact, so the result is the number that its three digits denote, and
  // InUnits of snapshot_delta.h recognises it.
  const double scale = std::pow(10.0, std::abs(digits));
  if (digits < 0) return std::round(weight / scale) * scale;
  return std::round(weight * scale) / scale;
}

void WeightLimiter::Restore(const std::string& endpoint_id, double weight) {
  accepted_[endpoint_id] = weight;
  standings_[endpoint_id] = Standing::kNormal;
}

WeightLimiter::Standing WeightLimiter::StandingOf(const ProposedWeight& proposed) {
  if (proposed.draining) return Standing::kDraining;
  if (proposed.pin.has_value()) return Standing::kPinned;
  return proposed.reachable ? Standing::kNormal : Standing::kUnreachable;
}

bool WeightLimiter::Tick(const std::vector<ProposedWeight>& proposed, bool frozen,
                         MonotonicTime now) {
  std::map<std::string, double> weights = Normalise(proposed);
  if (frozen) {
    HoldFrozen(proposed, weights);
  } else {
    CapStale(proposed, weights);
  }
  std::map<std::string, Standing> standings;
  for (const ProposedWeight& one : proposed) {
    const Standing standing = StandingOf(one);
    standings[one.endpoint_id] = standing;
    double& weight = weights[one.endpoint_id];
    if (standing == Standing::kUnreachable) weight = kFloor;
    if (standing == Standing::kDraining) weight = 0;
    if (standing == Standing::kPinned) weight = *one.pin;
    if (standing == Standing::kNormal) weight = Quantise(weight);
  }
  const bool changed = weights != accepted_;
  const bool at_once = standings != standings_ || MovedMuch(weights);
  if (!at_once && (!changed || now - accepted_at_ < kPublishInterval)) return false;
  standings_ = std::move(standings);
  accepted_ = std::move(weights);
  accepted_at_ = now;
  return changed || at_once;
}

std::map<std::string, double> WeightLimiter::Normalise(
    const std::vector<ProposedWeight>& proposed) {
  std::map<std::string, double> weights;
  double sum = 0;
  for (const ProposedWeight& one : proposed) {
    if (StandingOf(one) != Standing::kNormal) continue;
    weights[one.endpoint_id] = one.value;
    sum += one.value;
  }
  mean_proposed_ = weights.empty() ? 0 : sum / static_cast<double>(weights.size());
  if (mean_proposed_ <= 0) return weights;
  double bounded_sum = 0;
  for (auto& [id, weight] : weights) {
    weight = std::clamp(weight / mean_proposed_, kFloor, kCeiling);
    bounded_sum += weight;
  }
  for (auto& [id, weight] : weights) weight *= static_cast<double>(weights.size()) / bounded_sum;
  return weights;
}

void WeightLimiter::CapStale(const std::vector<ProposedWeight>& proposed,
                             std::map<std::string, double>& weights) const {
  std::set<std::string> capped;
  // Each round caps at least one more endpoint, because the gain of the others may lift another
  // stale endpoint above its cap.
  for (size_t round = 0; round < proposed.size(); ++round) {
    const size_t before = capped.size();
    for (const ProposedWeight& one : proposed) {
      auto weight = weights.find(one.endpoint_id);
      const double last = accepted(one.endpoint_id);
      if (one.may_rise || weight == weights.end() || last <= 0 || weight->second <= last) continue;
      weight->second = last;
      capped.insert(one.endpoint_id);
    }
    if (capped.size() == before) return;
    double kept = 0, movable = 0;
    for (const auto& [id, weight] : weights) (capped.contains(id) ? kept : movable) += weight;
    if (movable <= 0) return;
    const double scale = (static_cast<double>(weights.size()) - kept) / movable;
    for (auto& [id, weight] : weights) {
      if (!capped.contains(id)) weight = std::clamp(weight * scale, kFloor, kCeiling);
    }
  }
}

void WeightLimiter::HoldFrozen(const std::vector<ProposedWeight>& proposed,
                               std::map<std::string, double>& weights) const {
  double held = 0, proposed_of_held = 0;
  for (const ProposedWeight& one : proposed) {
    auto standing = standings_.find(one.endpoint_id);
    const bool hold = standing != standings_.end() && standing->second == Standing::kNormal;
    if (!hold || !weights.contains(one.endpoint_id)) continue;
    held += accepted(one.endpoint_id);
    proposed_of_held += weights[one.endpoint_id];
  }
  if (held <= 0 || proposed_of_held <= 0) return;
  for (auto& [id, weight] : weights) {
    auto standing = standings_.find(id);
    const bool hold = standing != standings_.end() && standing->second == Standing::kNormal;
    // A new endpoint keeps its proposed ratio to the frozen ones.
    weight = hold ? accepted(id) : weight * held / proposed_of_held;
  }
}

bool WeightLimiter::MovedMuch(const std::map<std::string, double>& weights) const {
  return std::any_of(weights.begin(), weights.end(), [&](const auto& one) {
    const double before = accepted(one.first);
    if (before == one.second) return false;
    if (before <= 0 || one.second <= 0) return true;
    return std::abs(std::log(one.second / before)) > kPublishRatio;
  });
}

}  // namespace trunkline
