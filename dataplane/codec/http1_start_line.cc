#include "dataplane/codec/http1_start_line.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_chars.h"

namespace trunkline {

ParseStep Http1RequestLine::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  bool valid = true;
  while (valid && !rest.empty() && state_ != State::kEnded) valid = Advance(rest);
  const size_t used = bytes.size() - rest.size();
  if (!valid) return {used, ParseState::kBroken};
  return {used, state_ == State::kEnded ? ParseState::kEnd : ParseState::kMore};
}

bool Http1RequestLine::Advance(Bytes& rest) {
  switch (state_) {
    case State::kStart:
      return Start(rest);
    case State::kEmptyLineFeed:
      return Expect('\n', State::kStart, rest);
    case State::kMethod:
      return MethodBytes(rest);
    case State::kTargetStart:
      state_ = State::kTarget;
      return IsHttp1(kHttp1Target, rest[0]);
    case State::kTarget:
      rest = rest.subspan(Http1Run(kHttp1Target, rest));
      return rest.empty() || Expect(' ', State::kVersion, rest);
    case State::kVersion: {
      const ParseState step = version_.Next(rest[0]);
      if (step != ParseState::kBroken) rest = rest.subspan(1);
      if (step == ParseState::kEnd) state_ = State::kCr;
      return step != ParseState::kBroken;
    }
    case State::kCr:
      return Expect('\r', State::kLineFeed, rest);
    case State::kLineFeed:
      return Expect('\n', State::kEnded, rest);
    case State::kEnded:
      break;
  }
  return false;
}

std::string_view Http1RequestLine::fault() const {
  switch (state_) {
    case State::kStart:
    case State::kEmptyLineFeed:
    case State::kMethod:
      return "its method is no token with one space behind it";
    case State::kTargetStart:
    case State::kTarget:
      return "its target is empty, or contains a space or a control character";
    default:
      return "its first line does not end with HTTP/1.0 or HTTP/1.1 and CR LF";
  }
}

bool Http1RequestLine::Start(Bytes& rest) {
  if (rest[0] == '\r' && !had_empty_line_) {
    had_empty_line_ = true;
    return Expect('\r', State::kEmptyLineFeed, rest);
  }
  state_ = State::kMethod;
  return IsHttp1(kHttp1Token, rest[0]);
}

bool Http1RequestLine::MethodBytes(Bytes& rest) {
  const size_t size = Http1Run(kHttp1Token, rest);
  const size_t kept = std::min(size, method_.size() - method_size_);
  std::copy_n(rest.begin(), kept, method_.begin() + method_size_);
  method_size_ += static_cast<uint8_t>(kept);
  rest = rest.subspan(size);
  return rest.empty() || Expect(' ', State::kTargetStart, rest);
}

bool Http1RequestLine::Expect(uint8_t byte, State next, Bytes& rest) {
  if (rest[0] != byte) return false;
  rest = rest.subspan(1);
  state_ = next;
  return true;
}

Http1RequestLine::Method Http1RequestLine::method() const {
  if (method_name() == "HEAD") return Method::kHead;
  return method_name() == "CONNECT" ? Method::kConnect : Method::kOther;
}

ParseStep Http1StatusLine::Parse(std::span<const uint8_t> bytes) {
  size_t used = 0;
  while (used < bytes.size() && state_ != State::kEnded) {
    if (!Next(bytes[used])) return {used, ParseState::kBroken};
    ++used;
  }
  return {used, state_ == State::kEnded ? ParseState::kEnd : ParseState::kMore};
}

bool Http1StatusLine::Next(uint8_t byte) {
  switch (state_) {
    case State::kVersion: {
      const ParseState step = version_.Next(byte);
      if (step == ParseState::kEnd) state_ = State::kSpace;
      return step != ParseState::kBroken;
    }
    case State::kSpace:
      state_ = State::kStatus;
      return byte == ' ';
    case State::kStatus:
      return StatusDigit(byte);
    case State::kReasonSpace:
      state_ = byte == '\r' ? State::kLineFeed : State::kReason;
      return byte == '\r' || byte == ' ';
    case State::kReason:
      if (byte == '\r') state_ = State::kLineFeed;
      return byte == '\r' || IsHttp1(kHttp1Text, byte);
    case State::kLineFeed:
      state_ = State::kEnded;
      return byte == '\n';
    case State::kEnded:
      break;
  }
  return false;
}

bool Http1StatusLine::StatusDigit(uint8_t byte) {
  if (byte < (status_ == 0 ? '1' : '0') || byte > '9') return false;
  status_ = static_cast<uint16_t>(status_ * 10 + (byte - '0'));
  if (status_ >= 100) state_ = State::kReasonSpace;
  return true;
}

}  // namespace trunkline
