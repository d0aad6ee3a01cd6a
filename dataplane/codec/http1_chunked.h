// The boundaries of a chunked body with its trailers (RFC 9112 7.1). Extensions and trailers are
// bounded; trailers that would change the framing are refused.
//
// Spaces and tabs may follow a size, with or without an extension, because some servers pad sizes
// and no parser reads another number there. White space before a size or inside of it is refused.
//
// Confined to its parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_fields.h"

namespace trunkline {

// Bound on a chunk size with its extensions. In practice, only attacks use extensions.
constexpr size_t kMaxHttp1ChunkLineBytes = 1024;
constexpr size_t kMaxHttp1TrailerBytes = 8 * 1024;

class Http1Chunked {
 public:
  // The smallest chunked body is `0`, CR LF, CR LF.
  static constexpr uint64_t kSmallestBytes = 5;

  // Parse returns kStream once, as soon as the body is known to exceed `budget` bytes.
  void Begin(uint64_t budget);
  ParseStep Parse(std::span<const uint8_t> bytes);
  // Says why Parse has returned kBroken.
  std::string_view fault() const;

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
  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState SizeLine(Bytes& rest);
  ParseState Data(Bytes& rest);
  ParseState Trailers(Bytes& rest);

  bool SizeLineByte(uint8_t byte);
  bool SizeDigit(uint8_t byte);
  ParseState EndSizeLine();
  // Notes that the body has at least this many more bytes.
  ParseState Announced(uint64_t bytes);
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  uint64_t budget_ = 0;
  uint64_t seen_ = 0;         // bytes of the body
  uint64_t chunk_left_ = 0;   // bytes
  size_t line_size_ = 0;      // bytes of the chunk's size line
  size_t trailers_left_ = 0;  // bytes left for trailers
  State state_ = State::kSize;
  uint8_t digits_ = 0;
  bool streamed_ = false;
  Http1Fields trailers_;
};

}  // namespace trunkline
