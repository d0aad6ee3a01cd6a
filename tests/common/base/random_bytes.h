// Random bytes, among which lost, repeated and moved bytes are visible.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/random.h"

namespace trunkline::test {

// Equal seeds give equal bytes.
inline std::string RandomBytes(size_t size, uint64_t seed) {
  FastRandom random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.Next());
  return bytes;
}

}  // namespace trunkline::test
