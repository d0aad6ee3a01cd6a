// The boundaries of Redis commands: arrays of bulk strings, and inline commands.
//
// Boundaries are those that Redis itself finds (networking.c of Redis 7), and nothing may pass that
// it would answer with the end of the connection, for that connection is shared. Where it is
// lenient (any byte for the LF of a header, any two after a string), this parser is not. Empty
// commands have no reply: they count as the beginning of the command that follows.
//
// kStream comes at the end of the header whose announced length is above the limit; of an inline
// command, when as many bytes are there and no line feed.
//
// Confined to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_commands.h"
#include "dataplane/codec/resp_number.h"

namespace trunkline {

class RedisRequestParser final : public RequestParser {
 public:
  explicit RedisRequestParser(size_t max_request_bytes) : max_bytes_(max_request_bytes) {}

  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Request request() const override;

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another message
    kStart,
    kInline,
    kCount,
    kStringSign,
    kLength,
    kString,
    kStringCr,
    kStringLf,
  };

  // Each takes bytes from the front of `rest`, which is not empty.
  ParseState Advance(Bytes& rest);
  ParseState Start(Bytes& rest);
  ParseState Inline(Bytes& rest);
  ParseState Number(Bytes& rest);
  ParseState String(Bytes& rest);
  ParseState Expect(uint8_t byte, State next, Bytes& rest);

  ParseState EndInline();
  ParseState EndCount(int64_t count);
  ParseState EndLength(int64_t length);
  ParseState EndString();

  void OnInlineByte(uint8_t byte);
  uint64_t InlineRoom() const;
  // The message has at least so many bytes more.
  ParseState Announced(uint64_t bytes);
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  const uint64_t max_bytes_;
  uint64_t seen_ = 0;        // bytes of the message
  uint64_t line_start_ = 0;  // of an inline command, as a count of seen bytes
  uint64_t strings_left_ = 0;
  uint64_t string_left_ = 0;  // bytes
  RespNumber number_;
  RedisCommandClassifier judge_;
  State state_ = State::kEnded;
  bool in_word_ = false;   // of an inline command
  bool has_word_ = false;  // the inline command is not empty
  bool quoted_ = false;
  bool streamed_ = false;
};

}  // namespace trunkline
