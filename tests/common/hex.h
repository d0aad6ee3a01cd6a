// Decodes hexadecimal digits. The function of this kind in abseil differs between the releases of
// Debian: the one that returns a string is deprecated in Debian 13, the other is not in Debian 12.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trunkline::test {

// Returns the bytes of `digits`, which must be an even number of hexadecimal digits.
inline std::string BytesOfHex(std::string_view digits) {
  std::string bytes;
  for (size_t at = 0; at < digits.size(); at += 2) {
    bytes.push_back(
        static_cast<char>(std::stoi(std::string(digits.substr(at, 2)), nullptr, /*base=*/16)));
  }
  return bytes;
}

}  // namespace trunkline::test
