// A 64-bit name for a payload's bytes (FNV-1a, Fowler/Noll/Vo), the same in every process and
// release: what a collector logs, what a store returns in its Ack and what storecheck computes from
// the database. It shows accidents, not forgery.
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
