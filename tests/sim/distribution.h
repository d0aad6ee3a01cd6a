// Random durations of requests, as a scenario describes them. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/random.h"

namespace trunkline::sim {

// Seconds. A tail replaces some of the draws.
struct Distribution {
  enum class Shape { kConstant, kExponential };
  Shape shape = Shape::kExponential;
  double mean = 0;  // of the draws that are not from the tail
  double tail_share = 0;
  double tail_mean = 0;  // constant

  double Mean() const { return (1 - tail_share) * mean + tail_share * tail_mean; }
  double Draw(FastRandom& random) const;
};

double DrawExponential(double mean, FastRandom& random);

// Returns a seed for one part of a simulation, so that parts draw independently of each other: a
// part that draws more often under one pick rule does not change what another part draws.
uint64_t SeedFor(uint64_t seed, std::string_view part, uint64_t index = 0);

}  // namespace trunkline::sim
