// Which endpoint gets the next flow: the better of two weighted draws.
//
// A weighted draw follows the controller's weights, which are about a second old; choosing the less
// loaded of two draws by what is in flight there right now (load_estimate.h) corrects them between
// updates. No endpoint can attract more than twice its weight's share, so a wrong weight or a
// fast-failing server cannot draw the whole load.
//
// The score is in_flight / weight, and a tie (two idle endpoints, above all) goes to the first
// draw: at light load the weights are followed exactly. (in_flight + 1) / weight would send a light
// load to the heaviest endpoint instead; see docs/decisions.md. A hot endpoint loses to one that is
// not, whatever their scores.
//
// Pure: values in, an index out. No lock, no allocation in Pick. Externally synchronized.
// Two choices: Mitzenmacher, "The power of two choices in randomized load balancing", 2001.
// Alias table: Vose, "A linear algorithm for generating random numbers with a given distribution",
// 1991.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/random.h"

namespace trunkline {

class Balancer {
 public:
  static constexpr size_t kNone = SIZE_MAX;

  // Of one endpoint.
  struct Load {
    double in_flight = 0;
    bool hot = false;  // at its limit, and its score is among the highest
  };

  // `weights[i]` of endpoint i, >= 0; an endpoint of weight 0 is never picked. All zero: nothing
  // is picked.
  void SetWeights(std::span<const double> weights);

  // `loads[i]` of endpoint i, for every i of SetWeights. kNone: nothing to pick.
  size_t Pick(std::span<const Load> loads, FastRandom& random) const;

  bool empty() const { return slots_.empty(); }

 private:
  struct Slot {
    double keep;    // below: this endpoint, else the alias
    uint32_t self;  // endpoint indices
    uint32_t alias;
  };
  size_t Draw(FastRandom& random) const;

  std::vector<Slot> slots_;
  std::vector<double> inverse_weight_;
};

}  // namespace trunkline
