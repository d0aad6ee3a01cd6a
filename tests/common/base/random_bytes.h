// Bytes that look like nothing: what is lost, doubled or moved among them shows.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/random.h"

namespace trunkline::test {

// The same for the same seed.
inline std::string RandomBytes(size_t size, uint64_t seed) {
  FastRandom random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.Next());
  return bytes;
}

}  // namespace trunkline::test
