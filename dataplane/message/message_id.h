// Reads and writes the big-endian number by which a reply names its request (IdField). Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trunkline {

inline constexpr unsigned kBitsPerByte = 8;

inline uint64_t ReadId(const uint8_t* at, size_t size) {
  uint64_t id = 0;
  for (size_t i = 0; i < size; ++i) id = id << kBitsPerByte | at[i];
  return id;
}

inline void WriteId(uint64_t id, uint8_t* at, size_t size) {
  for (size_t i = size; i > 0; --i, id >>= kBitsPerByte) at[i - 1] = static_cast<uint8_t>(id);
}

}  // namespace trunkline
