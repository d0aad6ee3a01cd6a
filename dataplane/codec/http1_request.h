// Finds the boundaries of HTTP/1 requests and those requests that need a connection of their own.
//
// Requests reach the server as the client sent them, except for a blanked "close", so everything
// that server and parser could read differently is refused (http1_fields.h).
//
// Confined to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_chunked.h"
#include "dataplane/codec/http1_fields.h"
#include "dataplane/codec/http1_start_line.h"

namespace trunkline {

// Twice the line limit of nginx and Apache. A larger head is refused.
constexpr size_t kMaxHttp1RequestHeadBytes = 16 * 1024;

// Request::reply_hint is one of the first three, combined with whether the client's connection
// closes after the reply.
enum Http1ReplyHint : uint32_t {
  kHttp1ReplyToOther = 0,
  kHttp1ReplyToHead = 1,
  kHttp1ReplyToConnect = 2,
  kHttp1ReplyThenClose = 4,
};

// Shared by a codec and its parsers, which may outlive it.
using Http1Methods = std::shared_ptr<const std::vector<std::string>>;

class Http1RequestParser final : public RequestParser {
 public:
  // `idempotent_methods` are those beside the ones of RFC 9110.
  Http1RequestParser(size_t max_request_bytes, Http1Methods idempotent_methods)
      : max_bytes_(max_request_bytes), idempotent_methods_(std::move(idempotent_methods)) {}

  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Request request() const override { return request_; }
  std::string_view fault() const override;

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another message
    kLine,
    kFields,
    kBody,
    kChunks,
  };
  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState Head(Bytes& rest);
  ParseState Body(Bytes& rest);
  ParseState Chunks(Bytes& rest);

  ParseState EndHead();
  bool HeadIsValid() const;
  bool IsIdempotent() const;
  void FillRequest();
  ParseState BeginBody();

  const uint64_t max_bytes_;
  const Http1Methods idempotent_methods_;
  State state_ = State::kEnded;
  size_t head_size_ = 0;     // bytes of the head so far
  size_t fields_start_ = 0;  // offset in the message
  uint64_t body_left_ = 0;
  Http1RequestLine line_;
  Http1Fields fields_;
  Http1Chunked chunks_;
  Request request_;
};

}  // namespace trunkline
