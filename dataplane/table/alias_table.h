// Weighted random draws over endpoints in constant time.
//
// Built once per set of weights, outside the workers' loops, and shared by all workers. Immutable
// and thread-safe.
// Alias method: Vose, "A linear algorithm for generating random numbers with a given distribution",
// IEEE Transactions on Software Engineering, 1991.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/random.h"

namespace trunkline {

class AliasTable {
 public:
  // A table without endpoints.
  AliasTable() = default;
  // `weights[i]` >= 0 is the weight of endpoint i; an endpoint of weight 0 is never drawn. O(n).
  explicit AliasTable(std::span<const double> weights);

  // Number of endpoints, including those of weight 0.
  size_t size() const { return weights_.size(); }
  // Returns true if no endpoint has a positive weight, so that nothing can be drawn.
  bool empty() const { return slots_.empty(); }
  double weight(size_t i) const { return weights_[i]; }
  // 1 / weight; 0 for an endpoint of weight 0.
  double inverse_weight(size_t i) const { return inverse_weights_[i]; }
  double total_weight() const { return total_weight_; }

  // Returns an endpoint with probability weight / total_weight. Requires !empty().
  size_t Draw(FastRandom& random) const {
    const double x = random.Uniform() * static_cast<double>(slots_.size());
    const auto s = static_cast<size_t>(x);
    const Slot& slot = slots_[s];
    return x - static_cast<double>(s) < slot.keep ? slot.self : slot.alias;
  }

 private:
  struct Slot {
    double keep;     // probability of `self`; otherwise the draw is `alias`
    uint32_t self;   // endpoint index
    uint32_t alias;  // endpoint index
  };

  std::vector<double> weights_;
  std::vector<double> inverse_weights_;
  double total_weight_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace trunkline
