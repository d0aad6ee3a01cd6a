// The boundaries of Redis commands: arrays of bulk strings, and inline commands.
//
// The boundaries are those that Redis itself finds (networking.c of Redis 7). The parser refuses
// every request for which Redis would close the connection, because that connection is shared. It
// is stricter than Redis, which accepts any byte for the LF of a header and any two after a string.
// Empty commands have no reply, so they count as the beginning of the next command.
//
// A client of a service with a credential must give it first: the proxy answers its other commands
// with an error, and refuses one that is too large to be buffered.
//
// Parse returns kStream at the end of the header that announces a length above the limit, and in an
// inline command that reaches the limit without a line feed.
//
// Confined to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_commands.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/codec/resp_number.h"

namespace trunkline {

class RedisRequestParser final : public RequestParser {
 public:
  // `credential` is null if the service has none.
  RedisRequestParser(size_t max_request_bytes, std::shared_ptr<const RedisCredential> credential)
      : max_bytes_(max_request_bytes), credential_(std::move(credential)) {
    session_.authenticated = credential_ == nullptr;
  }

  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Request request() const override;
  std::string_view fault() const override;

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

  // Each takes bytes from the front of `rest`, which must not be empty.
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

  void AddToWord(std::span<const uint8_t> piece);
  void EndWord();
  ParseState EndCommand();
  RedisReaction React();
  ParseState Stream();
  void OnInlineByte(uint8_t byte);
  uint64_t InlineRoom() const;
  // Notes that the message has at least this many more bytes.
  ParseState Announced(uint64_t bytes);
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  const uint64_t max_bytes_;
  const std::shared_ptr<const RedisCredential> credential_;
  RedisSession session_;
  std::unique_ptr<RedisIntroduction> introduction_;  // null unless the command is HELLO or AUTH
  uint64_t seen_ = 0;                                // bytes of the message
  uint64_t line_start_ = 0;  // value of seen_ at the beginning of an inline command
  uint64_t strings_left_ = 0;
  uint64_t string_left_ = 0;  // bytes
  RespNumber number_;
  RedisCommandClassifier classifier_;
  State state_ = State::kEnded;
  bool in_word_ = false;   // inside a word of an inline command
  bool has_word_ = false;  // the inline command is not empty
  bool quoted_ = false;
  bool streamed_ = false;
  bool refused_ = false;  // too large for a client that has not authenticated
  RedisReaction reaction_ = RedisReaction::kForward;
};

}  // namespace trunkline
