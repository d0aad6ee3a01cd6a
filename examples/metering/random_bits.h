// Random numbers that are the same in every process and library version, so that a seed names one
// workload everywhere (distributions of the standard library differ). SplitMix64: Steele, Lea,
// Flood, "Fast splittable pseudorandom number generators", 2014. Pure functions; SeededRandom is
// confined to one thread.
#pragma once

#include <cmath>
#include <cstdint>

namespace trunkline::metering {

// Scatters its input; a bijection.
inline constexpr uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// [0, 1), from the upper 53 bits.
inline constexpr double UnitInterval(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

class SeededRandom {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next() { return Mix(state_++); }
  // [0, 1).
  double Uniform() { return UnitInterval(Next()); }
  // [low, high].
  uint64_t Between(uint64_t low, uint64_t high) {
    return low + static_cast<uint64_t>(Uniform() * static_cast<double>(high - low + 1));
  }
  // Mean 1.
  double Exponential() { return -std::log1p(-Uniform()); }

 private:
  uint64_t state_;
};

}  // namespace trunkline::metering
