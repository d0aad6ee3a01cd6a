// A 64-bit hash of a payload (FNV-1a, Fowler/Noll/Vo), the same in every process and release. A
// collector logs it, a store returns it in the Ack, and storecheck computes it from the database.
// It detects accidents, not forgery.
#pragma once

#include <cstdint>
#include <string_view>

namespace trunkline::metering {

inline uint64_t PayloadHash(std::string_view payload) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : payload) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

}  // namespace trunkline::metering
