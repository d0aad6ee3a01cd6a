// Parses the fields of an HTTP/1 message (its head or its trailers) up to the empty line, for the
// framing of the message and the fate of its connection.
//
// Messages are forwarded unchanged, so the parser refuses everything that two parsers might read
// differently, which would allow request smuggling: line ends other than CR LF, folded lines,
// anything but a token before the colon, control characters, and every value of Content-Length and
// Transfer-Encoding that is not plain. A second Content-Length is refused even if it is equal:
// forwarding both is forbidden (RFC 9110 8.6), and a byte of the head cannot be removed.
// RFC 9112 5, 6 and 11.2.
//
// It buffers one word. Confined to its parser.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct Http1Facts {
  enum class Coding : uint8_t {
    kNone,     // no Transfer-Encoding
    kOther,    // does not end in chunked
    kChunked,  // ends in chunked, which occurs once
  };

  std::optional<uint64_t> content_length;
  Coding coding = Coding::kNone;
  bool close = false;             // Connection: close
  bool keep_alive = false;        // Connection: keep-alive
  bool upgrade = false;           // there is an Upgrade field
  bool expects_continue = false;  // Expect: 100-continue
  uint8_t hosts = 0;              // fields named Host; 2 means more than one
  // Offset of the first such word from the first byte of the fields.
  size_t close_offset = 0;
  size_t keep_alive_offset = 0;
  static constexpr size_t kCloseSize = std::string_view("close").size();
  static constexpr size_t kKeepAliveSize = std::string_view("keep-alive").size();
};

class Http1Fields {
 public:
  void Begin() { *this = {}; }
  // Returns kMore, kEnd behind the empty line, or kBroken. `bytes` may be empty.
  ParseStep Parse(std::span<const uint8_t> bytes);
  // Requires that Parse has returned kEnd.
  const Http1Facts& facts() const { return facts_; }
  bool ended() const { return state_ == State::kEnded; }
  // Says why Parse has returned kBroken.
  std::string_view fault() const;

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t { kLineStart, kName, kValue, kLineFeed, kLastLineFeed, kEnded };
  enum class Field : uint8_t { kOther, kContentLength, kConnection, kExpect, kTransferEncoding };
  // Position in the value of a Content-Length.
  enum class Digits : uint8_t { kBefore, kIn, kAfter };

  // Each takes bytes from the front of `rest`, which must not be empty. Returns false if they are
  // invalid.
  bool Advance(Bytes& rest);
  bool Name(Bytes& rest);
  bool Value(Bytes& rest);

  bool HasTwoLengths() const {
    return facts_.content_length && facts_.coding != Http1Facts::Coding::kNone;
  }
  void EndName();
  bool EndValue();
  bool LengthByte(uint8_t byte);
  bool EndLength();
  bool ListByte(uint8_t byte);
  bool EndElement();
  bool EndCoding(std::string_view coding);
  void Take(size_t size, Bytes& rest) {
    rest = rest.subspan(size);
    seen_ += size;
  }

  static constexpr size_t kLongestWord = std::string_view("transfer-encoding").size();

  Http1Facts facts_;
  size_t seen_ = 0;  // bytes of the fields
  State state_ = State::kLineStart;
  Field field_ = Field::kOther;

  // The current name or list element, in lower case. A longer word matches nothing.
  std::array<char, kLongestWord + 1> word_;
  uint8_t word_size_ = 0;
  bool after_word_ = false;  // a space followed the element
  bool spoiled_ = false;     // more bytes followed the space, or the element is no token
  size_t word_offset_ = 0;   // of the element

  Digits digits_ = Digits::kBefore;
  uint64_t length_ = 0;
};

}  // namespace trunkline
