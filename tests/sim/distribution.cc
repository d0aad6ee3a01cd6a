#include "tests/sim/distribution.h"

#include <cmath>
#include <cstdint>
#include <string_view>

#include "common/base/random.h"

namespace trunkline::sim {

double DrawExponential(double mean, FastRandom& random) {
  return -mean * std::log1p(-random.Uniform());
}

double Distribution::Draw(FastRandom& random) const {
  // Always two numbers, so that requests of the same seed differ only in what a scenario changes.
  const double kind = random.Uniform();
  const double drawn = DrawExponential(mean, random);
  if (kind < tail_share) return tail_mean;
  return shape == Shape::kConstant ? mean : drawn;
}

uint64_t SeedFor(uint64_t seed, std::string_view part, uint64_t index) {
  // FNV-1a, which is the same on every machine.
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : part) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  FastRandom mixer(hash ^ (seed * 0x9e3779b97f4a7c15) ^ (index << 32));
  mixer.Next();
  return mixer.Next();
}

}  // namespace trunkline::sim
