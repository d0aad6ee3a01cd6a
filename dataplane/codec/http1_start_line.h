// Parses the first line of an HTTP/1 message strictly as in RFC 9112 3 and 4, versions 1.0 and 1.1,
// except that a reply may omit the space before an empty reason, as some servers do. Confined to
// its parser.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"

namespace trunkline {

// "HTTP/1.0" or "HTTP/1.1", byte by byte.
class Http1Version {
 public:
  // Returns kMore, kEnd or kBroken.
  ParseState Next(uint8_t byte) {
    if (matched_ < kPrefix.size()) {
      const auto expected = static_cast<uint8_t>(kPrefix[matched_++]);
      return byte == expected ? ParseState::kMore : ParseState::kBroken;
    }
    minor_ = byte - '0';
    return byte == '0' || byte == '1' ? ParseState::kEnd : ParseState::kBroken;
  }
  int minor() const { return minor_; }

 private:
  static constexpr std::string_view kPrefix = "HTTP/1.";
  uint8_t matched_ = 0;
  uint8_t minor_ = 0;
};

// Bound on a method that is compared with others, as long as BASELINE-CONTROL. A longer one equals
// none.
constexpr size_t kMaxHttp1MethodBytes = 16;

class Http1RequestLine {
 public:
  enum class Method : uint8_t { kOther, kHead, kConnect };

  void Begin() { *this = {}; }
  // Returns kMore, kEnd behind the line, or kBroken. One empty line may precede it.
  ParseStep Parse(std::span<const uint8_t> bytes);
  // Requires that Parse has returned kEnd.
  Method method() const;
  // Says why Parse has returned kBroken.
  std::string_view fault() const;
  // The name, or its first kMaxHttp1MethodBytes + 1 bytes. Requires that Parse has returned kEnd.
  std::string_view method_name() const { return {method_.data(), method_size_}; }
  int minor_version() const { return version_.minor(); }

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kStart,
    kEmptyLineFeed,
    kMethod,
    kTargetStart,
    kTarget,
    kVersion,
    kCr,
    kLineFeed,
    kEnded,
  };
  // Takes bytes from the front of `rest`, which must not be empty. Returns false if they are
  // invalid.
  bool Advance(Bytes& rest);
  bool Start(Bytes& rest);
  bool MethodBytes(Bytes& rest);
  bool Expect(uint8_t byte, State next, Bytes& rest);

  State state_ = State::kStart;
  bool had_empty_line_ = false;
  uint8_t method_size_ = 0;
  std::array<char, kMaxHttp1MethodBytes + 1> method_;
  Http1Version version_;
};

class Http1StatusLine {
 public:
  void Begin() { *this = {}; }
  // Returns kMore, kEnd behind the line, or kBroken.
  ParseStep Parse(std::span<const uint8_t> bytes);
  // 100 to 999. Requires that Parse has returned kEnd.
  int status() const { return status_; }
  int minor_version() const { return version_.minor(); }

 private:
  enum class State : uint8_t {
    kVersion,
    kSpace,
    kStatus,
    kReasonSpace,
    kReason,
    kLineFeed,
    kEnded
  };
  bool Next(uint8_t byte);
  bool StatusDigit(uint8_t byte);

  State state_ = State::kVersion;
  uint16_t status_ = 0;
  Http1Version version_;
};

}  // namespace trunkline
