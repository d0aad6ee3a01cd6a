#include "dataplane/codec/http1_fields.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_chars.h"

namespace trunkline {
namespace {

// Half of the range, so that sums with head sizes cannot overflow.
constexpr uint64_t kMaxContentLength = std::numeric_limits<int64_t>::max();

char Small(uint8_t letter) {
  return static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
}

}  // namespace

ParseStep Http1Fields::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  bool valid = true;
  while (valid && !rest.empty() && state_ != State::kEnded) valid = Advance(rest);
  const size_t used = bytes.size() - rest.size();
  if (!valid) return {used, ParseState::kBroken};
  return {used, state_ == State::kEnded ? ParseState::kEnd : ParseState::kMore};
}

bool Http1Fields::Advance(Bytes& rest) {
  const uint8_t byte = rest[0];
  switch (state_) {
    case State::kLineStart:
      if (byte != '\r') {
        state_ = State::kName;
        word_size_ = 0;
        // A space here would fold the line into the previous one.
        return IsHttp1(kHttp1Token, byte);
      }
      Take(1, rest);
      state_ = State::kLastLineFeed;
      return true;
    case State::kName:
      return Name(rest);
    case State::kValue:
      return Value(rest);
    case State::kLineFeed:
      if (byte != '\n' || !EndValue()) return false;
      Take(1, rest);
      state_ = State::kLineStart;
      return true;
    case State::kLastLineFeed:
      if (byte != '\n' || HasTwoLengths()) return false;
      Take(1, rest);
      state_ = State::kEnded;
      return true;
    case State::kEnded:
      break;
  }
  return false;
}

std::string_view Http1Fields::fault() const {
  switch (state_) {
    case State::kLineStart:
    case State::kName:
      return "a field does not begin with a token and a colon (a folded line, or white space "
             "before "
             "the colon)";
    case State::kLastLineFeed:
      if (HasTwoLengths()) return "it has both Content-Length and Transfer-Encoding";
      break;
    default:
      if (field_ == Field::kContentLength)
        return "its Content-Length is repeated or no plain number";
      if (field_ == Field::kTransferEncoding)
        return "its Transfer-Encoding is malformed, empty or continues after chunked";
      break;
  }
  return "a field contains a control character or does not end with CR LF";
}

bool Http1Fields::Name(Bytes& rest) {
  const size_t size = Http1Run(kHttp1Token, rest);
  const size_t kept = std::min(size, word_.size() - word_size_);
  std::transform(rest.begin(), rest.begin() + kept, word_.begin() + word_size_, Small);
  word_size_ += static_cast<uint8_t>(kept);
  Take(size, rest);
  if (rest.empty()) return true;
  if (rest[0] != ':') return false;
  Take(1, rest);
  EndName();
  state_ = State::kValue;
  return true;
}

void Http1Fields::EndName() {
  const std::string_view name(word_.data(), word_size_);
  field_ = Field::kOther;
  switch (name.size()) {
    case 4:
      if (name == "host") facts_.hosts = facts_.hosts == 0 ? 1 : 2;
      break;
    case 6:
      if (name == "expect") field_ = Field::kExpect;
      break;
    case 7:
      facts_.upgrade |= name == "upgrade";
      break;
    case 10:
      if (name == "connection") field_ = Field::kConnection;
      break;
    case 14:
      if (name == "content-length") field_ = Field::kContentLength;
      break;
    case kLongestWord:
      if (name == "transfer-encoding") field_ = Field::kTransferEncoding;
      break;
    default:
      break;
  }
  word_size_ = 0;
  after_word_ = spoiled_ = false;
  digits_ = Digits::kBefore;
  length_ = 0;
}

bool Http1Fields::Value(Bytes& rest) {
  const size_t size = Http1TextRun(rest);
  if (field_ == Field::kOther) {
    Take(size, rest);
  } else {
    for (const uint8_t byte : rest.first(size)) {
      if (!(field_ == Field::kContentLength ? LengthByte(byte) : ListByte(byte))) return false;
      Take(1, rest);
    }
  }
  if (rest.empty()) return true;
  if (rest[0] != '\r') return false;
  Take(1, rest);
  state_ = State::kLineFeed;
  return true;
}

bool Http1Fields::EndValue() {
  if (field_ == Field::kOther) return true;
  return field_ == Field::kContentLength ? EndLength() : EndElement();
}

bool Http1Fields::LengthByte(uint8_t byte) {
  if (IsHttp1Space(byte)) {
    if (digits_ == Digits::kIn) digits_ = Digits::kAfter;
    return true;
  }
  if (byte < '0' || byte > '9' || digits_ == Digits::kAfter) return false;
  digits_ = Digits::kIn;
  const uint64_t digit = byte - '0';
  if (length_ > (kMaxContentLength - digit) / 10) return false;
  length_ = length_ * 10 + digit;
  return true;
}

bool Http1Fields::EndLength() {
  if (digits_ == Digits::kBefore || facts_.content_length) return false;
  facts_.content_length = length_;
  return true;
}

bool Http1Fields::ListByte(uint8_t byte) {
  if (byte == ',') return EndElement();
  if (IsHttp1Space(byte)) {
    after_word_ = word_size_ > 0;
    return true;
  }
  if (word_size_ == 0) word_offset_ = seen_;
  spoiled_ |= after_word_ || !IsHttp1(kHttp1Token, byte);
  if (word_size_ < word_.size()) word_[word_size_++] = Small(byte);
  return true;
}

bool Http1Fields::EndElement() {
  const std::string_view element(word_.data(), spoiled_ ? 0 : word_size_);
  word_size_ = 0;
  after_word_ = spoiled_ = false;
  if (field_ == Field::kTransferEncoding) return EndCoding(element);
  if (field_ == Field::kExpect) {
    facts_.expects_continue |= element == "100-continue";
  } else if (element == "close") {
    if (!facts_.close) facts_.close_offset = word_offset_;
    facts_.close = true;
  } else if (element == "keep-alive") {
    if (!facts_.keep_alive) facts_.keep_alive_offset = word_offset_;
    facts_.keep_alive = true;
  }
  return true;
}

bool Http1Fields::EndCoding(std::string_view coding) {
  // Nothing may follow "chunked". Empty list elements have no legitimate use.
  if (coding.empty() || facts_.coding == Http1Facts::Coding::kChunked) return false;
  facts_.coding = coding == "chunked" ? Http1Facts::Coding::kChunked : Http1Facts::Coding::kOther;
  return true;
}

}  // namespace trunkline
