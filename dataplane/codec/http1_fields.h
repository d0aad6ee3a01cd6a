// The fields of an HTTP/1 message (those of its head, or its trailers) up to the empty line, and
// what they say of where the message ends and what becomes of its connection.
//
// Messages are passed on as they came, so whatever two parsers might read differently is refused:
// that is how one message is smuggled inside another. Refused are line ends other than CR LF,
// folded lines, anything but a token before the colon, control characters, and every value of
// Content-Length and Transfer-Encoding that is not plain. RFC 9112 5, 6 and 11.2.
//
// It holds one word of what it reads. Confined to its parser.
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
    kOther,    // one that does not end in chunked
    kChunked,  // the last one, and only that
  };

  std::optional<uint64_t> content_length;
  Coding coding = Coding::kNone;
  bool close = false;             // Connection: close
  bool keep_alive = false;        // Connection: keep-alive
  bool upgrade = false;           // there is an Upgrade field
  bool expects_continue = false;  // Expect: 100-continue
  uint8_t hosts = 0;              // fields named Host; 2 means more than one
  // Of the first of these words, from the first byte of the fields.
  size_t close_offset = 0;
  size_t keep_alive_offset = 0;
  static constexpr size_t kCloseSize = std::string_view("close").size();
  static constexpr size_t kKeepAliveSize = std::string_view("keep-alive").size();
};

class Http1Fields {
 public:
  void Begin() { *this = {}; }
  // kMore, kEnd behind the empty line, or kBroken. Bytes may be empty.
  ParseStep Parse(std::span<const uint8_t> bytes);
  // Once Parse said kEnd.
  const Http1Facts& facts() const { return facts_; }

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t { kLineStart, kName, kValue, kLineFeed, kLastLineFeed, kEnded };
  enum class Field : uint8_t { kOther, kContentLength, kConnection, kExpect, kTransferEncoding };
  // Where in the value of a Content-Length.
  enum class Digits : uint8_t { kBefore, kIn, kAfter };

  // Each takes bytes from the front of `rest`, which is not empty; false: they are not valid.
  bool Advance(Bytes& rest);
  bool Name(Bytes& rest);
  bool Value(Bytes& rest);

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

  // The name under way, or the element of a list, in small letters. One letter more: matches
  // nothing.
  std::array<char, kLongestWord + 1> word_;
  uint8_t word_size_ = 0;
  bool after_word_ = false;  // a space was behind the element
  bool spoiled_ = false;     // and then more of it, or it has bytes that are none of a token
  size_t word_offset_ = 0;   // of the element

  Digits digits_ = Digits::kBefore;
  uint64_t length_ = 0;
};

}  // namespace trunkline
