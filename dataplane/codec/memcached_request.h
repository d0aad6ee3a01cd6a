// The boundaries of memcached requests: a command line, and a data block for those that have one.
//
// A data block is as long as its line says and ends with CR LF; any other end is broken. Parse
// returns kStream as soon as a line cannot share a connection, at the end of a line that announces
// more bytes than the limit, and in a line that reaches the limit without a line feed.
//
// Confined to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached_command.h"

namespace trunkline {

// memcached closes a connection on which it finds no line feed in so many bytes, unless they begin
// with `get` or `gets`.
constexpr size_t kMaxMemcachedLineBytes = 2048;

class MemcachedRequestParser final : public RequestParser {
 public:
  explicit MemcachedRequestParser(size_t max_request_bytes) : max_bytes_(max_request_bytes) {}

  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Request request() const override;
  std::string_view fault() const override {
    return "a data block does not end with CR LF where its length says";
  }

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another message
    kLine,
    kLineFeed,
    kData,
    kDataCr,
    kDataLf,
  };

  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState Line(Bytes& rest);
  ParseState LineFeed(Bytes& rest);
  ParseState Data(Bytes& rest);
  // Returns false if the next byte is another one.
  bool Expect(uint8_t byte, Bytes& rest);

  ParseState EndLine();
  // Returns kStream once.
  ParseState Stream();
  uint64_t LineRoom() const;
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  const uint64_t max_bytes_;
  uint64_t seen_ = 0;       // bytes of the message
  uint64_t data_left_ = 0;  // bytes of the data block
  MemcachedCommand command_;
  State state_ = State::kEnded;
  bool streamed_ = false;
};

}  // namespace trunkline
