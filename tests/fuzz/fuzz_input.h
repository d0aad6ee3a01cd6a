// Reads a fuzzer's bytes from the front: first numbers that choose options, then the data under
// test. Reads yield zeros once the input is used up, so every input is valid.
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
  // Reads a big-endian number of `size` bytes, at most 8.
  uint64_t Number(size_t size) {
    uint64_t number = 0;
    for (; size > 0; --size) {
      number = number << 8 | (left_.empty() ? 0 : static_cast<uint8_t>(left_.front()));
      left_.remove_prefix(std::min<size_t>(1, left_.size()));
    }
    return number;
  }
  // Returns fewer bytes if the input ends before.
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
