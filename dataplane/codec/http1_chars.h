// Character classes of the head of an HTTP/1 message (RFC 9110 5.5 and 5.6.2), one table look-up
// per byte. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace trunkline {

enum Http1Char : uint8_t {
  kHttp1Token = 1,   // in methods, field names and codings
  kHttp1Text = 2,    // in field values: no control characters except the tab
  kHttp1Target = 4,  // in request targets: no spaces or control characters
};

namespace http1_internal {

constexpr std::array<uint8_t, 256> MakeChars() {
  std::array<uint8_t, 256> chars{};
  for (size_t c = 0x20; c < 256; ++c) {
    if (c != 0x7f) chars[c] |= kHttp1Text | (c == ' ' ? 0 : kHttp1Target);
    const bool letter_or_digit =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter_or_digit) chars[c] |= kHttp1Token;
  }
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) chars[c] |= kHttp1Token;
  chars['\t'] |= kHttp1Text;
  return chars;
}
inline constexpr std::array<uint8_t, 256> kChars = MakeChars();

}  // namespace http1_internal

inline bool IsHttp1(Http1Char kind, uint8_t byte) {
  return (http1_internal::kChars[byte] & kind) != 0;
}

// Returns the number of bytes of this kind at the front.
inline size_t Http1Run(Http1Char kind, std::span<const uint8_t> bytes) {
  size_t size = 0;
  while (size < bytes.size() && IsHttp1(kind, bytes[size])) ++size;
  return size;
}

// Http1Run for text. Values are long, so it takes eight bytes at a time if none of them is a
// control character.
inline size_t Http1TextRun(std::span<const uint8_t> bytes) {
  constexpr uint64_t kEach = ~uint64_t{0} / 255;
  const auto any_below = [](uint64_t eight, uint64_t limit) {
    return ((eight - kEach * limit) & ~eight & (kEach << 7)) != 0;
  };
  size_t size = 0;
  while (bytes.size() - size >= sizeof(uint64_t)) {
    uint64_t eight;
    std::memcpy(&eight, bytes.data() + size, sizeof(eight));
    if (any_below(eight, ' ') || any_below(eight ^ kEach * 0x7f, 1)) {
      const size_t run = Http1Run(kHttp1Text, bytes.subspan(size, sizeof(eight)));
      if (run < sizeof(eight)) return size + run;
    }
    size += sizeof(eight);
  }
  return size + Http1Run(kHttp1Text, bytes.subspan(size));
}

inline bool IsHttp1Space(uint8_t byte) { return byte == ' ' || byte == '\t'; }

}  // namespace trunkline
