#include "dataplane/table/alias_table.h"

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace trunkline {

AliasTable::AliasTable(std::span<const double> weights)
    : weights_(weights.begin(), weights.end()),
      inverse_weights_(weights.size(), 0.0),
      total_weight_(std::accumulate(weights.begin(), weights.end(), 0.0)) {
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    inverse_weights_[i] = 1.0 / weights[i];
    slots_.push_back({.keep = weights[i], .self = i, .alias = i});
  }
  std::vector<uint32_t> small;
  std::vector<uint32_t> large;
  for (uint32_t s = 0; s < slots_.size(); ++s) {
    slots_[s].keep *= static_cast<double>(slots_.size()) / total_weight_;
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
  // Rounding errors leave slots here that should be exactly full.
  for (const uint32_t s : small) slots_[s].keep = 1.0;
  for (const uint32_t s : large) slots_[s].keep = 1.0;
}

}  // namespace trunkline
