#include "dataplane/codec/memcached_reply.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached_command.h"

namespace trunkline {
namespace {

using Kind = MemcachedReplyKind;
using Quiet = MemcachedQuiet;

constexpr std::string_view kValue = "VALUE";   // VALUE <key> <flags> <bytes> [<cas>]
constexpr std::string_view kMetaValue = "VA";  // VA <bytes> <flags>
constexpr uint8_t kSizeWordOfValue = 3;
constexpr uint8_t kSizeWordOfMetaValue = 1;
// Far above the largest item that memcached can be configured for (1 GiB).
constexpr uint8_t kMostSizeDigits = 10;

// The words that begin replies of each kind, besides errors, between blanks.
constexpr std::string_view WordsOf(Kind kind) {
  switch (kind) {
    case Kind::kValues:
      return " VALUE END ";
    case Kind::kStored:
      return " STORED NOT_STORED EXISTS NOT_FOUND ";
    case Kind::kDeleted:
      return " DELETED NOT_FOUND ";
    case Kind::kTouched:
      return " TOUCHED NOT_FOUND ";
    case Kind::kNumber:
      return " NOT_FOUND ";
    case Kind::kOk:
      return " OK ";
    case Kind::kVersion:
      return " VERSION ";
    case Kind::kMeta:
      return " HD VA EN NF NS EX ";
    case Kind::kDebug:
      return " ME EN ";
    case Kind::kNoop:
      return " MN ";
  }
  return {};
}

bool IsIn(std::string_view word, std::string_view words) {
  const size_t at = words.find(word);
  return at != std::string_view::npos && at > 0 && words[at - 1] == ' ' &&
         words[at + word.size()] == ' ';
}

bool IsError(std::string_view word) {
  return word == "ERROR" || word == "CLIENT_ERROR" || word == "SERVER_ERROR";
}

}  // namespace

ParseStep MemcachedReplyParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

std::string_view MemcachedReplyParser::fault() const {
  switch (state_) {
    case State::kWord:
      return "a line begins with a word that does not answer its command";
    case State::kSizes:
      return "a line with a value has no plain size, or is too long";
    case State::kDataCr:
    case State::kDataLf:
      return "a data block does not end with CR LF where its length says";
    default:
      return "a line exceeds 4096 bytes or does not end with CR LF";
  }
}

ParseState MemcachedReplyParser::Advance(Bytes& rest) {
  switch (state_) {
    case State::kEnded:
      BeginReply();
      return ParseState::kMore;
    case State::kWord:
      return Word(rest);
    case State::kSizes:
      return Sizes(rest);
    case State::kLine:
      return Line(rest);
    case State::kLineFeed:
      if (Expect('\n', State::kLineFeed, rest) != ParseState::kMore) return ParseState::kBroken;
      return EndLine();
    case State::kData:
      return Data(rest);
    case State::kDataCr:
      return Expect('\r', State::kDataLf, rest);
    case State::kDataLf:
      if (Expect('\n', State::kDataLf, rest) != ParseState::kMore) return ParseState::kBroken;
      if (hint_.kind == Kind::kMeta) return ParseState::kEnd;
      BeginLine();
      return ParseState::kMore;
  }
  return ParseState::kBroken;
}

void MemcachedReplyParser::BeginReply() {
  last_ = false;
  switch (hint_.quiet) {
    case Quiet::kNone:
      delivery_ = Reply::Delivery::kWanted;
      break;
    case Quiet::kAll:
      delivery_ = Reply::Delivery::kDiscarded;
      break;
    default:
      delivery_ = Reply::Delivery::kUndecided;
      break;
  }
  BeginLine();
}

void MemcachedReplyParser::BeginLine() {
  state_ = State::kWord;
  has_block_ = false;
  word_size_ = words_ = digits_ = 0;
  line_size_ = 0;
}

ParseState MemcachedReplyParser::Word(Bytes& rest) {
  while (!rest.empty()) {
    const uint8_t byte = rest[0];
    const bool ends = byte == ' ' || byte == '\r';
    if (ends && !Fits({word_.data(), word_size_})) return ParseState::kBroken;
    if (!ends && (word_size_ == word_.size() || byte < ' ')) return ParseState::kBroken;
    rest = rest.subspan(1);
    ++line_size_;
    if (ends) return EndWord(byte);
    word_[word_size_++] = static_cast<char>(byte);
  }
  return ParseState::kMore;
}

bool MemcachedReplyParser::Fits(std::string_view word) const {
  if (word.empty()) return false;
  if (IsError(word)) return true;
  const bool number = std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
  return number ? hint_.kind == Kind::kNumber : IsIn(word, WordsOf(hint_.kind));
}

bool MemcachedReplyParser::IsUnwanted(std::string_view word) const {
  switch (hint_.quiet) {
    case Quiet::kNone:
      return false;
    case Quiet::kAll:
      return true;
    case Quiet::kMiss:
      return word == "EN";
    case Quiet::kDone:
      return word == "HD";
    case Quiet::kCounted:
      return word == "HD" || word == kMetaValue;
  }
  return false;
}

// `end` is the byte behind the word.
ParseState MemcachedReplyParser::EndWord(uint8_t end) {
  const std::string_view word(word_.data(), word_size_);
  delivery_ = IsUnwanted(word) ? Reply::Delivery::kDiscarded : Reply::Delivery::kWanted;
  // The server may take the data block for commands.
  if (hint_.has_data && (word == "ERROR" || word == "CLIENT_ERROR")) last_ = true;
  has_block_ = word == kValue || word == kMetaValue;
  size_word_ = word == kValue ? kSizeWordOfValue : kSizeWordOfMetaValue;
  words_ = 1;
  if (end == '\r') {
    state_ = has_block_ ? State::kSizes : State::kLineFeed;
    return has_block_ ? ParseState::kBroken : ParseState::kMore;
  }
  state_ = has_block_ ? State::kSizes : State::kLine;
  return ParseState::kMore;
}

ParseState MemcachedReplyParser::Sizes(Bytes& rest) {
  while (!rest.empty()) {
    const uint8_t byte = rest[0];
    if (byte == '\n' || line_size_ == kMaxMemcachedReplyLineBytes) return ParseState::kBroken;
    const bool at_size = words_ == size_word_;
    if (byte == ' ' || byte == '\r') {
      const bool missing = words_ < size_word_ && byte == '\r';
      if (missing || (at_size && digits_ == 0)) return ParseState::kBroken;
      words_ = std::min<uint8_t>(words_ + 1, kSizeWordOfValue + 1);
    } else if (at_size) {
      if (byte < '0' || byte > '9' || digits_ == kMostSizeDigits) return ParseState::kBroken;
      data_left_ = (digits_++ == 0 ? 0 : data_left_ * 10) + (byte - '0');
    }
    rest = rest.subspan(1);
    ++line_size_;
    if (byte == '\r') {
      state_ = State::kLineFeed;
      return ParseState::kMore;
    }
  }
  return ParseState::kMore;
}

ParseState MemcachedReplyParser::Line(Bytes& rest) {
  const size_t room = std::min(kMaxMemcachedReplyLineBytes - line_size_, rest.size());
  const auto end = std::find_if(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(room),
                                [](uint8_t byte) { return byte == '\r' || byte == '\n'; });
  const auto size = static_cast<size_t>(end - rest.begin());
  line_size_ += size;
  rest = rest.subspan(size);
  if (size == room) {
    return line_size_ < kMaxMemcachedReplyLineBytes ? ParseState::kMore : ParseState::kBroken;
  }
  return Expect('\r', State::kLineFeed, rest);
}

ParseState MemcachedReplyParser::EndLine() {
  if (!has_block_) return ParseState::kEnd;
  state_ = data_left_ == 0 ? State::kDataCr : State::kData;
  return ParseState::kMore;
}

ParseState MemcachedReplyParser::Data(Bytes& rest) {
  const size_t size = std::min<uint64_t>(data_left_, rest.size());
  data_left_ -= size;
  rest = rest.subspan(size);
  if (data_left_ == 0) state_ = State::kDataCr;
  return ParseState::kMore;
}

ParseState MemcachedReplyParser::Expect(uint8_t byte, State next, Bytes& rest) {
  if (rest[0] != byte) return ParseState::kBroken;
  rest = rest.subspan(1);
  state_ = next;
  return ParseState::kMore;
}

}  // namespace trunkline
