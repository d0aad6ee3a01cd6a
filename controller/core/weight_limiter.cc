#include "controller/core/weight_limiter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
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
  accepted_[endpoint_id] = {weight, Standing::kNormal};
}

WeightLimiter::Standing WeightLimiter::StandingOf(const ProposedWeight& proposed) {
  if (proposed.draining) return Standing::kDraining;
  if (proposed.pin.has_value()) return Standing::kPinned;
  return proposed.reachable ? Standing::kNormal : Standing::kUnreachable;
}

bool WeightLimiter::Tick(const std::vector<ProposedWeight>& proposed, bool frozen,
                         MonotonicTime now) {
  std::vector<double> weights = Normalise(proposed);
  Last last;
  last.reserve(proposed.size());
  for (const ProposedWeight& one : proposed) {
    const auto found = accepted_.find(one.endpoint_id);
    last.push_back(found == accepted_.end() ? nullptr : &found->second);
  }
  if (frozen) {
    HoldFrozen(proposed, last, weights);
  } else {
    CapStale(proposed, last, weights);
  }
  const bool small_due = now - small_published_at_ >= kPublishInterval;
  const double ratio = small_due ? kNoticeRatio : kPublishRatio;
  bool changed = accepted_.size() != proposed.size();
  std::vector<Accepted> next(proposed.size());
  for (size_t i = 0; i < proposed.size(); ++i) {
    next[i] = {weights[i], StandingOf(proposed[i])};
    double& weight = next[i].weight;
    switch (next[i].standing) {
      case Standing::kUnreachable:
        weight = kFloor;
        break;
      case Standing::kDraining:
        weight = 0;
        break;
      case Standing::kPinned:
        weight = *proposed[i].pin;
        break;
      case Standing::kNormal:
        weight = MovedMoreThan(ratio, last[i], weight) ? Quantise(weight) : last[i]->weight;
    }
    changed = changed || last[i] == nullptr || *last[i] != next[i];
  }
  if (!changed) return false;
  Accept(proposed, next);
  if (small_due) small_published_at_ = now;
  return true;
}

void WeightLimiter::Accept(const std::vector<ProposedWeight>& proposed,
                           const std::vector<Accepted>& next) {
  for (size_t i = 0; i < proposed.size(); ++i) accepted_[proposed[i].endpoint_id] = next[i];
  if (accepted_.size() == proposed.size()) return;
  accepted_.clear();
  for (size_t i = 0; i < proposed.size(); ++i) accepted_[proposed[i].endpoint_id] = next[i];
}

std::vector<double> WeightLimiter::Normalise(const std::vector<ProposedWeight>& proposed) {
  std::vector<double> weights(proposed.size());
  double sum = 0, count = 0;
  for (size_t i = 0; i < proposed.size(); ++i) {
    if (StandingOf(proposed[i]) != Standing::kNormal) continue;
    weights[i] = proposed[i].value;
    sum += weights[i];
    ++count;
  }
  mean_proposed_ = count > 0 ? sum / count : 0;
  if (mean_proposed_ <= 0) return weights;
  double bounded_sum = 0;
  for (size_t i = 0; i < proposed.size(); ++i) {
    if (StandingOf(proposed[i]) != Standing::kNormal) continue;
    weights[i] = std::clamp(weights[i] / mean_proposed_, kFloor, kCeiling);
    bounded_sum += weights[i];
  }
  for (double& weight : weights) weight *= count / bounded_sum;
  return weights;
}

void WeightLimiter::CapStale(const std::vector<ProposedWeight>& proposed, const Last& last,
                             std::vector<double>& weights) {
  std::vector<bool> capped(proposed.size(), false);
  // Each round caps at least one more endpoint, because the gain of the others may lift another
  // stale endpoint above its cap.
  for (size_t round = 0; round < proposed.size(); ++round) {
    bool any = false;
    double kept = 0, movable = 0, count = 0;
    for (size_t i = 0; i < proposed.size(); ++i) {
      if (StandingOf(proposed[i]) != Standing::kNormal) continue;
      const double before = last[i] != nullptr ? last[i]->weight : 0;
      if (!proposed[i].may_rise && before > 0 && weights[i] > before) {
        weights[i] = before;
        capped[i] = any = true;
      }
      (capped[i] ? kept : movable) += weights[i];
      ++count;
    }
    if (!any || movable <= 0) return;
    const double scale = (count - kept) / movable;
    for (size_t i = 0; i < proposed.size(); ++i) {
      if (StandingOf(proposed[i]) != Standing::kNormal || capped[i]) continue;
      weights[i] = std::clamp(weights[i] * scale, kFloor, kCeiling);
    }
  }
}

void WeightLimiter::HoldFrozen(const std::vector<ProposedWeight>& proposed, const Last& last,
                               std::vector<double>& weights) {
  const auto holds = [&](size_t i) {
    return StandingOf(proposed[i]) == Standing::kNormal && last[i] != nullptr &&
           last[i]->standing == Standing::kNormal;
  };
  double held = 0, proposed_of_held = 0;
  for (size_t i = 0; i < proposed.size(); ++i) {
    if (!holds(i)) continue;
    held += last[i]->weight;
    proposed_of_held += weights[i];
  }
  if (held <= 0 || proposed_of_held <= 0) return;
  for (size_t i = 0; i < proposed.size(); ++i) {
    // A new endpoint keeps its proposed ratio to the frozen ones.
    weights[i] = holds(i) ? last[i]->weight : weights[i] * held / proposed_of_held;
  }
}

bool WeightLimiter::MovedMoreThan(double ratio, const Accepted* last, double weight) {
  const double before = last != nullptr ? last->weight : 0;
  if (last != nullptr && before == weight) return false;
  if (before <= 0 || weight <= 0) return true;
  return std::abs(std::log(weight / before)) > ratio;
}

}  // namespace trunkline
