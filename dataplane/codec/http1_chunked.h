// The boundaries of a chunked body (RFC 9112 7.1), trailers and all. Extensions and trailers are
// bounded; trailers that would reframe the message are refused.
//
// Confined to its parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_fields.h"

namespace trunkline {

// A size and its extensions. Nobody uses extensions but to make a reader work for few bytes of
// body.
constexpr size_t kMaxHttp1ChunkLineBytes = 1024;
constexpr size_t kMaxHttp1TrailerBytes = 8 * 1024;

class Http1Chunked {
 public:
  // Of `0`, CR LF, CR LF: no chunked body is smaller.
  static constexpr uint64_t kSmallestBytes = 5;

  // kStream is said once, as soon as it is certain that the body has more bytes than `budget`.
  void Begin(uint64_t budget);
  ParseStep Parse(std::span<const uint8_t> bytes);

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kSize,
    kBeforeExtension,
    kExtension,
    kSizeLineFeed,
    kData,
    kDataCr,
    kDataLineFeed,
    kTrailers,
  };
  // Each takes bytes from the front of `rest`, which is not empty.
  ParseState Advance(Bytes& rest);
  ParseState SizeLine(Bytes& rest);
  ParseState Data(Bytes& rest);
  ParseState Trailers(Bytes& rest);

  bool SizeLineByte(uint8_t byte);
  bool SizeDigit(uint8_t byte);
  ParseState EndSizeLine();
  // The body has at least so many bytes more.
  ParseState Announced(uint64_t bytes);
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  uint64_t budget_ = 0;
  uint64_t seen_ = 0;         // bytes of the body
  uint64_t chunk_left_ = 0;   // its bytes
  size_t line_size_ = 0;      // of the chunk's size line
  size_t trailers_left_ = 0;  // bytes that trailers may still have
  State state_ = State::kSize;
  uint8_t digits_ = 0;
  bool streamed_ = false;
  Http1Fields trailers_;
};

}  // namespace trunkline
