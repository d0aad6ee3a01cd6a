#include "dataplane/codec/memcached_request.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "dataplane/codec/codec.h"

namespace trunkline {
namespace {

constexpr uint64_t kDataEndBytes = 2;  // CR LF

}  // namespace

ParseStep MemcachedRequestParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

Request MemcachedRequestParser::request() const {
  const bool dedicated = streamed_ || command_.dedicated();
  if (dedicated) return {.dedicated = true, .repeatable = false};
  if (command_.quits()) return {.last = true, .repeatable = false, .local = true};
  return {.repeatable = command_.repeatable(),
          .reply_hint = command_.reply_hint(),
          .blank_offset = command_.blank_offset(),
          .blank_size = command_.blank_size()};
}

ParseState MemcachedRequestParser::Advance(Bytes& rest) {
  switch (state_) {
    case State::kEnded:
      command_.Begin();
      seen_ = 0;
      streamed_ = false;
      state_ = State::kLine;
      return ParseState::kMore;
    case State::kLine:
      return Line(rest);
    case State::kLineFeed:
      return LineFeed(rest);
    case State::kData:
      return Data(rest);
    case State::kDataCr:
      state_ = State::kDataLf;
      return Expect('\r', rest) ? ParseState::kMore : ParseState::kBroken;
    case State::kDataLf:
      return Expect('\n', rest) ? ParseState::kEnd : ParseState::kBroken;
  }
  return ParseState::kBroken;
}

bool MemcachedRequestParser::Expect(uint8_t byte, Bytes& rest) {
  if (rest[0] != byte) return false;
  Take(1, rest);
  return true;
}

ParseState MemcachedRequestParser::Line(Bytes& rest) {
  while (!rest.empty()) {
    if (LineRoom() == 0) return Stream();
    const uint8_t byte = rest[0];
    Take(1, rest);
    if (byte == '\n') return EndLine();
    if (byte == '\r') {
      state_ = State::kLineFeed;
      return ParseState::kMore;
    }
    command_.Add(byte);
    if (command_.dedicated() && !streamed_) return Stream();
  }
  return ParseState::kMore;
}

// A CR elsewhere is part of a word for memcached.
ParseState MemcachedRequestParser::LineFeed(Bytes& rest) {
  if (LineRoom() == 0) return Stream();
  if (Expect('\n', rest)) return EndLine();
  state_ = State::kLine;
  command_.MakeDedicated();
  return streamed_ ? ParseState::kMore : Stream();
}

ParseState MemcachedRequestParser::EndLine() {
  command_.End();
  if (command_.dedicated() || !command_.has_data()) return ParseState::kEnd;
  data_left_ = command_.data_bytes();
  state_ = data_left_ == 0 ? State::kDataCr : State::kData;
  if (streamed_ || seen_ + data_left_ + kDataEndBytes <= max_bytes_) return ParseState::kMore;
  return Stream();
}

ParseState MemcachedRequestParser::Data(Bytes& rest) {
  const size_t size = std::min<uint64_t>(data_left_, rest.size());
  data_left_ -= size;
  Take(size, rest);
  if (data_left_ == 0) state_ = State::kDataCr;
  return ParseState::kMore;
}

ParseState MemcachedRequestParser::Stream() {
  streamed_ = true;
  return ParseState::kStream;
}

uint64_t MemcachedRequestParser::LineRoom() const {
  if (streamed_) return std::numeric_limits<uint64_t>::max();
  const uint64_t most =
      command_.may_be_long() ? max_bytes_ : std::min<uint64_t>(max_bytes_, kMaxMemcachedLineBytes);
  return most - std::min(most, seen_);
}

}  // namespace trunkline
