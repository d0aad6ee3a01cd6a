#include "dataplane/codec/redis_reply.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"

namespace trunkline {
namespace {

constexpr uint8_t kArray = '*';
constexpr uint8_t kSet = '~';
constexpr uint8_t kMap = '%';
constexpr uint8_t kPush = '>';
constexpr uint8_t kAttribute = '|';
constexpr uint8_t kBlob = '$';
constexpr uint8_t kChunk = ';';

bool IsPairs(uint8_t type) { return type == kMap || type == kAttribute; }
bool MayBeNull(uint8_t type) { return type == kBlob || type == kArray; }
bool MayBeStreamed(uint8_t type) {
  return type == kBlob || type == kArray || type == kSet || type == kMap;
}

}  // namespace

ParseStep RedisReplyParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

std::string_view RedisReplyParser::fault() const {
  switch (state_) {
    case State::kType:
      return "a value begins with a byte that is no type of RESP, or not there";
    case State::kNumber:
      return "a count or length is no plain number, or values are nested too deeply";
    case State::kCr:
    case State::kLf:
      return "a string, a line or a streamed value does not end where it should";
    default:
      return "a line contains a line feed";
  }
}

ParseState RedisReplyParser::Advance(Bytes& rest) {
  const uint8_t byte = rest[0];
  switch (state_) {
    case State::kEnded:
      unasked_ = false;
      return Next(State::kType);
    case State::kType: {
      const ParseState state = Type(byte);
      if (state != ParseState::kBroken) rest = rest.subspan(1);
      return state;
    }
    case State::kNumber:
      return Number(rest);
    case State::kLine:
      return Line(rest);
    case State::kString:
      return String(rest);
    case State::kCr:
      if (byte != '\r') return ParseState::kBroken;
      rest = rest.subspan(1);
      return Next(State::kLf);
    case State::kLf:
      if (byte != '\n') return ParseState::kBroken;
      rest = rest.subspan(1);
      return EndLine();
  }
  return ParseState::kBroken;
}

ParseState RedisReplyParser::Type(uint8_t type) {
  if (in_chunks_ != (type == kChunk)) return ParseState::kBroken;
  type_ = type;
  switch (type) {
    case '+':  // simple string
    case '-':  // simple error
    case ':':  // integer
    case '_':  // null
    case '#':  // boolean
    case ',':  // double
    case '(':  // big number
      return Next(State::kLine);
    case kPush:
      if (depth_ > 0) return ParseState::kBroken;
      unasked_ = true;
      [[fallthrough]];
    case kBlob:
    case '!':  // blob error
    case '=':  // verbatim string
    case kChunk:
    case kArray:
    case kSet:
    case kMap:
    case kAttribute:
      number_.Begin();
      return Next(State::kNumber);
    case '.':  // the end of a streamed aggregate
      return ExpectLineEnd(Then::kCloseStream);
    default:
      return ParseState::kBroken;
  }
}

ParseState RedisReplyParser::Number(Bytes& rest) {
  if (rest[0] == '?' && number_.empty() && MayBeStreamed(type_)) {
    rest = rest.subspan(1);
    return ExpectLineEnd(Then::kOpenStream);
  }
  ParseState state = ParseState::kMore;
  size_t used = 0;
  while (used < rest.size() && state == ParseState::kMore) state = number_.Next(rest[used++]);
  rest = rest.subspan(state == ParseState::kBroken ? used - 1 : used);
  return state == ParseState::kEnd ? EndNumber(number_.value()) : state;
}

ParseState RedisReplyParser::EndNumber(int64_t number) {
  if (number == -1 && MayBeNull(type_)) return EndElement();
  if (number < 0) return ParseState::kBroken;
  const auto count = static_cast<uint64_t>(number);
  switch (type_) {
    case kArray:
    case kSet:
    case kMap:
    case kPush:
    case kAttribute:
      return Open({.elements = IsPairs(type_) ? 2 * count : count, .type = type_});
    case kChunk:
      if (count == 0) {
        in_chunks_ = false;
        return EndElement();
      }
      [[fallthrough]];
    default:
      string_left_ = count;
      then_ = type_ == kChunk ? Then::kChunk : Then::kElement;
      return Next(State::kString);
  }
}

ParseState RedisReplyParser::Line(Bytes& rest) {
  const auto* end = static_cast<const uint8_t*>(std::memchr(rest.data(), '\r', rest.size()));
  const size_t size = end == nullptr ? rest.size() : end - rest.data();
  const void* feed = size > 0 ? std::memchr(rest.data(), '\n', size) : nullptr;
  if (feed != nullptr) {
    rest = rest.subspan(static_cast<const uint8_t*>(feed) - rest.data());
    return ParseState::kBroken;
  }
  rest = rest.subspan(size);
  return end == nullptr ? ParseState::kMore : ExpectLineEnd(Then::kElement);
}

ParseState RedisReplyParser::String(Bytes& rest) {
  const size_t size = std::min<uint64_t>(string_left_, rest.size());
  string_left_ -= size;
  rest = rest.subspan(size);
  return string_left_ == 0 ? ExpectLineEnd(then_) : ParseState::kMore;
}

ParseState RedisReplyParser::EndLine() {
  switch (then_) {
    case Then::kElement:
      return EndElement();
    case Then::kChunk:
      return Next(State::kType);
    case Then::kOpenStream:
      if (type_ != kBlob) return Open({.type = type_, .streamed = true});
      in_chunks_ = true;
      return Next(State::kType);
    case Then::kCloseStream:
      return CloseStream();
  }
  return ParseState::kBroken;
}

ParseState RedisReplyParser::Open(Level level) {
  if (level.elements > 0 || level.streamed) {
    if (depth_ == levels_.size()) return ParseState::kBroken;
    levels_[depth_++] = level;
    return Next(State::kType);
  }
  return level.type == kAttribute ? Next(State::kType) : EndElement();
}

ParseState RedisReplyParser::CloseStream() {
  if (depth_ == 0) return ParseState::kBroken;
  const Level& level = levels_[depth_ - 1];
  const bool half_a_pair = IsPairs(level.type) && level.elements % 2 != 0;
  if (!level.streamed || half_a_pair) return ParseState::kBroken;
  --depth_;
  return EndElement();
}

ParseState RedisReplyParser::EndElement() {
  while (depth_ > 0) {
    Level& level = levels_[depth_ - 1];
    if (level.streamed) {
      ++level.elements;
      return Next(State::kType);
    }
    if (--level.elements > 0) return Next(State::kType);
    --depth_;
    if (level.type == kAttribute) return Next(State::kType);
  }
  return ParseState::kEnd;
}

}  // namespace trunkline
