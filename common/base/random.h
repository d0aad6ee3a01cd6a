// A small, fast random generator for picks and jitter. Its owner seeds it, so that tests can repeat
// a run. SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA
// 2014. Not suitable for secrets. Externally synchronized.
#pragma once

#include <cstdint>

namespace trunkline {

class FastRandom {
 public:
  explicit FastRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Returns a value in [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

}  // namespace trunkline
