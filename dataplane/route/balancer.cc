#include "dataplane/route/balancer.h"

#include <numeric>

namespace trunkline {

void Balancer::SetWeights(std::span<const double> weights) {
  slots_.clear();
  inverse_weight_.assign(weights.size(), 0.0);
  std::vector<uint32_t> small;
  std::vector<uint32_t> large;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    inverse_weight_[i] = 1.0 / weights[i];
    slots_.push_back({.keep = weights[i], .self = i, .alias = i});
  }
  for (uint32_t s = 0; s < slots_.size(); ++s) {
    slots_[s].keep *= static_cast<double>(slots_.size()) / sum;
    (slots_[s].keep < 1.0 ? small : large).push_back(s);
  }
  while (!small.empty() && !large.empty()) {
    Slot& poor = slots_[small.back()];
    Slot& rich = slots_[large.back()];
    small.pop_back();
    poor.alias = rich.self;
    rich.keep -= 1.0 - poor.keep;
    if (rich.keep < 1.0) {
      small.push_back(large.back());
      large.pop_back();
    }
  }
  // What rounding left over is whole.
  for (const uint32_t s : small) slots_[s].keep = 1.0;
  for (const uint32_t s : large) slots_[s].keep = 1.0;
}

size_t Balancer::Draw(FastRandom& random) const {
  const double x = random.Uniform() * static_cast<double>(slots_.size());
  const auto s = static_cast<size_t>(x);
  const Slot& slot = slots_[s];
  return x - static_cast<double>(s) < slot.keep ? slot.self : slot.alias;
}

size_t Balancer::Pick(std::span<const Load> loads, FastRandom& random) const {
  if (slots_.empty()) return kNone;
  if (slots_.size() == 1) return slots_[0].self;
  const size_t a = Draw(random);
  const size_t b = Draw(random);
  if (loads[a].hot != loads[b].hot) return loads[a].hot ? b : a;
  const double score_a = loads[a].in_flight * inverse_weight_[a];
  const double score_b = loads[b].in_flight * inverse_weight_[b];
  return score_b < score_a ? b : a;
}

}  // namespace trunkline
