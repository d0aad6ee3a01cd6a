// The boundaries of Redis replies: RESP2 and RESP3, all types, nested, streamed, with attributes.
//
// The parser keeps only a counter per level of nesting, so replies of any size pass, and a false
// count costs no memory. It ignores the content of lines and strings, but refuses a line that
// contains a CR or LF, because clients disagree on its end.
//
// An attribute belongs to the reply behind it. A push answers no request.
//
// Confined to its connection. Format: "Redis serialization protocol specification" of redis.io, and
// "RESP3 specification" of antirez/RESP3 for streamed types.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/resp_number.h"

namespace trunkline {

// The deepest reply of Redis 7 itself has 12 levels (COMMAND DOCS). A script can build a reply with
// thousands of levels; shared connections refuse it.
constexpr size_t kMaxRedisReplyDepth = 64;

class RedisReplyParser final : public ReplyParser {
 public:
  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Reply reply() const override { return {.unasked = unasked_}; }
  std::string_view fault() const override;

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another reply
    kType,
    kNumber,
    kLine,
    kString,
    kCr,
    kLf,
  };
  // The action at the end of the current line.
  enum class Then : uint8_t { kElement, kChunk, kOpenStream, kCloseStream };
  struct Level {
    uint64_t elements = 0;  // still to come; if streamed, that have come
    uint8_t type = 0;
    bool streamed = false;
  };

  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState Type(uint8_t type);
  ParseState Number(Bytes& rest);
  ParseState Line(Bytes& rest);
  ParseState String(Bytes& rest);

  ParseState EndNumber(int64_t number);
  ParseState Open(Level level);
  ParseState CloseStream();
  ParseState EndLine();
  ParseState EndElement();
  // Continues the reply in state `next`.
  ParseState Next(State state) {
    state_ = state;
    return ParseState::kMore;
  }
  ParseState ExpectLineEnd(Then then) {
    then_ = then;
    return Next(State::kCr);
  }

  State state_ = State::kEnded;
  Then then_ = Then::kElement;
  uint8_t type_ = 0;
  bool unasked_ = false;
  bool in_chunks_ = false;  // inside a streamed string
  RespNumber number_;
  uint64_t string_left_ = 0;  // bytes
  size_t depth_ = 0;
  std::array<Level, kMaxRedisReplyDepth> levels_;
};

}  // namespace trunkline
