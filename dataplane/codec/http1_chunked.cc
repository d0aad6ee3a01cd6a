#include "dataplane/codec/http1_chunked.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_chars.h"
#include "dataplane/codec/http1_fields.h"

namespace trunkline {
namespace {

constexpr uint64_t kLineEndBytes = 2;
// 60 bits are far above any chunk size, and sums do not overflow.
constexpr uint8_t kMaxSizeDigits = 15;

}  // namespace

void Http1Chunked::Begin(uint64_t budget) {
  budget_ = budget;
  seen_ = 0;
  chunk_left_ = 0;
  line_size_ = 0;
  digits_ = 0;
  streamed_ = false;
  state_ = State::kSize;
}

ParseStep Http1Chunked::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  return {bytes.size() - rest.size(), state};
}

ParseState Http1Chunked::Advance(Bytes& rest) {
  const uint8_t byte = rest[0];
  switch (state_) {
    case State::kSize:
    case State::kBeforeExtension:
    case State::kExtension:
    case State::kSizeLineFeed:
      return SizeLine(rest);
    case State::kData:
      return Data(rest);
    case State::kDataCr:
      if (byte != '\r') return ParseState::kBroken;
      Take(1, rest);
      state_ = State::kDataLineFeed;
      return ParseState::kMore;
    case State::kDataLineFeed:
      if (byte != '\n') return ParseState::kBroken;
      Take(1, rest);
      state_ = State::kSize;
      digits_ = 0;
      line_size_ = 0;
      return ParseState::kMore;
    case State::kTrailers:
      return Trailers(rest);
  }
  return ParseState::kBroken;
}

std::string_view Http1Chunked::fault() const {
  switch (state_) {
    case State::kData:
    case State::kDataCr:
    case State::kDataLineFeed:
      return "a chunk does not end with CR LF where its size says";
    case State::kTrailers:
      if (trailers_.ended()) return "its trailers name a length, a coding or a host";
      return trailers_left_ == 0 ? "its trailers are too large" : trailers_.fault();
    default:
      return "a chunk's size line is no hexadecimal size with an optional extension, or too long";
  }
}

ParseState Http1Chunked::SizeLine(Bytes& rest) {
  while (!rest.empty()) {
    const uint8_t byte = rest[0];
    if (line_size_ == kMaxHttp1ChunkLineBytes) return ParseState::kBroken;
    const bool ends = state_ == State::kSizeLineFeed;
    if (ends ? byte != '\n' : !SizeLineByte(byte)) return ParseState::kBroken;
    ++line_size_;
    Take(1, rest);
    if (ends) return EndSizeLine();
  }
  return ParseState::kMore;
}

bool Http1Chunked::SizeLineByte(uint8_t byte) {
  if (byte == '\r' && digits_ > 0) {
    state_ = State::kSizeLineFeed;
    return true;
  }
  switch (state_) {
    case State::kSize:
      if (SizeDigit(byte)) return true;
      state_ = State::kBeforeExtension;
      [[fallthrough]];
    case State::kBeforeExtension:
      if (byte == ';') state_ = State::kExtension;
      return digits_ > 0 && (byte == ';' || IsHttp1Space(byte));
    default:
      return IsHttp1(kHttp1Text, byte);
  }
}

bool Http1Chunked::SizeDigit(uint8_t byte) {
  uint64_t digit = byte - '0';
  if (byte < '0' || byte > '9') {
    const uint8_t letter = byte | 0x20;
    if (letter < 'a' || letter > 'f') return false;
    digit = letter - 'a' + 10;
  }
  if (digits_ == kMaxSizeDigits) return false;
  ++digits_;
  chunk_left_ = chunk_left_ * 16 + digit;
  return true;
}

ParseState Http1Chunked::EndSizeLine() {
  if (chunk_left_ > 0) {
    state_ = State::kData;
    return Announced(chunk_left_ + kLineEndBytes + kSmallestBytes);
  }
  trailers_.Begin();
  trailers_left_ = kMaxHttp1TrailerBytes;
  state_ = State::kTrailers;
  return Announced(kLineEndBytes);
}

ParseState Http1Chunked::Data(Bytes& rest) {
  const size_t size = std::min<uint64_t>(chunk_left_, rest.size());
  chunk_left_ -= size;
  Take(size, rest);
  if (chunk_left_ == 0) state_ = State::kDataCr;
  return ParseState::kMore;
}

ParseState Http1Chunked::Trailers(Bytes& rest) {
  const uint64_t budget_left = streamed_ ? std::numeric_limits<uint64_t>::max() : budget_ - seen_;
  const size_t size = std::min<uint64_t>({rest.size(), trailers_left_, budget_left});
  const ParseStep step = trailers_.Parse(rest.first(size));
  trailers_left_ -= step.used;
  Take(step.used, rest);
  if (step.state == ParseState::kEnd) {
    const Http1Facts& facts = trailers_.facts();
    const bool reframes =
        facts.content_length || facts.coding != Http1Facts::Coding::kNone || facts.hosts > 0;
    return reframes ? ParseState::kBroken : ParseState::kEnd;
  }
  if (step.state == ParseState::kBroken || trailers_left_ == 0) return ParseState::kBroken;
  return Announced(1);
}

ParseState Http1Chunked::Announced(uint64_t bytes) {
  if (streamed_ || (seen_ <= budget_ && bytes <= budget_ - seen_)) return ParseState::kMore;
  streamed_ = true;
  return ParseState::kStream;
}

}  // namespace trunkline
