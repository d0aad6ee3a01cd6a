// Parses a count or length of RESP, `<digits> CR LF`, byte by byte, as Redis does: without a plus
// sign or a leading zero. Confined to its parser.
#pragma once

#include <cstdint>

#include "dataplane/codec/codec.h"

namespace trunkline {

class RespNumber {
 public:
  void Begin() { *this = {}; }

  // Returns kMore, kEnd or kBroken.
  ParseState Next(uint8_t byte) {
    if (at_line_feed_) return byte == '\n' ? ParseState::kEnd : ParseState::kBroken;
    if (byte >= '0' && byte <= '9') return Digit(byte - '0');
    if (byte == '\r' && digits_ > 0) {
      at_line_feed_ = true;
      return ParseState::kMore;
    }
    if (byte != '-' || digits_ > 0 || negative_) return ParseState::kBroken;
    negative_ = true;
    return ParseState::kMore;
  }

  int64_t value() const { return negative_ ? -magnitude_ : magnitude_; }
  // Returns true before the first byte.
  bool empty() const { return digits_ == 0 && !negative_; }

 private:
  // Far above any real count or length; twice as much still fits into 64 bits.
  static constexpr uint8_t kMaxDigits = 18;

  ParseState Digit(int digit) {
    const bool leading_zero = digits_ > 0 && magnitude_ == 0;
    const bool minus_zero = negative_ && digits_ == 0 && digit == 0;
    if (digits_ == kMaxDigits || leading_zero || minus_zero) return ParseState::kBroken;
    magnitude_ = magnitude_ * 10 + digit;
    ++digits_;
    return ParseState::kMore;
  }

  int64_t magnitude_ = 0;
  uint8_t digits_ = 0;
  bool negative_ = false;
  bool at_line_feed_ = false;
};

}  // namespace trunkline
