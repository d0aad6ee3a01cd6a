// The boundaries of HTTP/1 replies. 1xx responses (100, 103) are part of the reply that follows.
//
// The reply to a client that asked for its connection to be closed carries "close", too, for any
// split into pieces: instead of "keep-alive" if that is in the same piece as the first line, else
// in an additional field behind that line.
//
// A protocol switch (101) is refused on a shared connection, because no HTTP follows it.
//
// Confined to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_chunked.h"
#include "dataplane/codec/http1_fields.h"
#include "dataplane/codec/http1_start_line.h"

namespace trunkline {

// Bound on each head of a reply: eight times nginx's default as a proxy.
constexpr size_t kMaxHttp1ReplyHeadBytes = 64 * 1024;

class Http1ReplyParser final : public ReplyParser {
 public:
  // `reply_hint` combines values of Http1ReplyHint (http1_request.h).
  void Begin(uint32_t reply_hint) override { hint_ = reply_hint; }
  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Reply reply() const override { return {.last = last_}; }
  std::string_view fault() const override;
  ReplyEdit edit() const override { return edit_; }
  bool EndsAtClose() const override { return state_ == State::kUntilClose; }

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another reply
    kLine,
    kFields,
    kBody,
    kChunks,
    kUntilClose,
  };
  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState Head(Bytes& rest);
  ParseState Body(Bytes& rest);
  ParseState Chunks(Bytes& rest);

  void BeginHead();
  void EndLine(size_t end);
  ParseState EndHead();
  void AdjustEdit();
  bool HasBody() const;
  ParseState BeginBody();

  uint32_t hint_ = 0;
  size_t piece_size_ = 0;  // bytes that Parse was given
  ReplyEdit edit_;
  State state_ = State::kEnded;
  bool last_ = false;
  size_t head_size_ = 0;  // bytes of the head so far
  uint64_t body_left_ = 0;
  Http1StatusLine line_;
  Http1Fields fields_;
  Http1Chunked chunks_;
};

}  // namespace trunkline
