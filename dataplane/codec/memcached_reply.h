// The boundaries of memcached replies: one line, a line with a data block (VA), or VALUE lines with
// data blocks up to END. An error line ends every reply.
//
// A reply must begin with a word that its command can get, so a reply that belongs to another
// command is found early. Lines end with CR LF; data blocks are streamed and may have any size.
//
// Confined to its connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached_command.h"

namespace trunkline {

// Far above the longest lines of memcached, which have a key and some numbers.
constexpr size_t kMaxMemcachedReplyLineBytes = 4096;

class MemcachedReplyParser final : public ReplyParser {
 public:
  void Begin(uint32_t reply_hint) override { hint_ = MemcachedReplyHint::Unpack(reply_hint); }
  ParseStep Parse(std::span<const uint8_t> bytes) override;
  Reply reply() const override { return {.last = last_, .delivery = delivery_}; }
  std::string_view fault() const override;

 private:
  using Bytes = std::span<const uint8_t>;
  enum class State : uint8_t {
    kEnded,  // the next byte begins another reply
    kWord,   // the first of a line
    kSizes,  // words of a line that announces a data block
    kLine,   // the rest of any other line
    kLineFeed,
    kData,
    kDataCr,
    kDataLf,
  };
  // The longest first word: a number of 64 bits.
  static constexpr size_t kLongestWord = 20;
  static_assert(kLongestWord < ReplyEdit::kMostGrowth);

  // Each takes bytes from the front of `rest`, which must not be empty.
  ParseState Advance(Bytes& rest);
  ParseState Word(Bytes& rest);
  ParseState Sizes(Bytes& rest);
  ParseState Line(Bytes& rest);
  ParseState Data(Bytes& rest);
  ParseState Expect(uint8_t byte, State next, Bytes& rest);

  void BeginReply();
  void BeginLine();
  ParseState EndWord(uint8_t end);
  ParseState EndLine();
  bool Fits(std::string_view word) const;
  bool IsUnwanted(std::string_view word) const;

  MemcachedReplyHint hint_;
  State state_ = State::kEnded;
  Reply::Delivery delivery_ = Reply::Delivery::kWanted;
  bool last_ = false;
  bool has_block_ = false;  // the line announces a data block
  std::array<char, kLongestWord> word_{};
  uint8_t word_size_ = 0;
  uint8_t words_ = 0;      // that have ended
  uint8_t size_word_ = 0;  // the number of the word with the block's size, from 0
  uint8_t digits_ = 0;     // of that size
  size_t line_size_ = 0;
  uint64_t data_left_ = 0;  // bytes
};

}  // namespace trunkline
