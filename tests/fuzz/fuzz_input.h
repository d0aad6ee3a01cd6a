// A fuzzer's bytes, taken from the front: numbers that choose options first, then the matter
// itself. Zeros when they have run out, so every input means something.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trunkline::test {

class FuzzInput {
 public:
  // `data` is borrowed.
  FuzzInput(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  uint8_t Byte() { return static_cast<uint8_t>(Number(1)); }
  // Big endian, of `size` bytes, at most 8.
  uint64_t Number(size_t size) {
    uint64_t number = 0;
    for (; size > 0; --size) {
      number = number << 8 | (left_.empty() ? 0 : static_cast<uint8_t>(left_.front()));
      left_.remove_prefix(std::min<size_t>(1, left_.size()));
    }
    return number;
  }
  // As many as are left.
  std::string Take(size_t size) {
    std::string taken(left_.substr(0, size));
    left_.remove_prefix(taken.size());
    return taken;
  }
  std::string TakeRest() { return Take(left_.size()); }
  bool empty() const { return left_.empty(); }

 private:
  std::string_view left_;
};

}  // namespace trunkline::test
