#include "dataplane/codec/http1_reply.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_fields.h"
#include "dataplane/codec/http1_request.h"

namespace trunkline {
namespace {

constexpr int kSwitchingProtocols = 101;
constexpr int kNoContent = 204;
constexpr int kNotModified = 304;
constexpr uint32_t kAskedMask = kHttp1ReplyToHead | kHttp1ReplyToConnect;

constexpr std::string_view kCloseField = "Connection: close\r\n";
constexpr std::string_view kClose = "close";
static_assert(kCloseField.size() <= ReplyEdit::kMostGrowth);

}  // namespace

ParseStep Http1ReplyParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  piece_size_ = bytes.size();
  edit_ = {};
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

std::string_view Http1ReplyParser::fault() const {
  if (state_ == State::kChunks) return chunks_.fault();
  const bool head_ended = state_ == State::kFields && fields_.ended();
  if (!head_ended && head_size_ == kMaxHttp1ReplyHeadBytes) return "its head exceeds 64 KiB";
  if (state_ == State::kLine) return "its first line is no status line of HTTP/1.0 or HTTP/1.1";
  if (!head_ended) return fields_.fault();
  if (line_.status() == kSwitchingProtocols) return "it switches protocols (101) unasked";
  return "HTTP/1.0 has no Transfer-Encoding";
}

ParseState Http1ReplyParser::Advance(Bytes& rest) {
  switch (state_) {
    case State::kEnded:
      BeginHead();
      return ParseState::kMore;
    case State::kLine:
    case State::kFields:
      return Head(rest);
    case State::kBody:
      return Body(rest);
    case State::kChunks:
      return Chunks(rest);
    case State::kUntilClose:
      rest = {};
      return ParseState::kMore;
  }
  return ParseState::kBroken;
}

void Http1ReplyParser::BeginHead() {
  line_.Begin();
  fields_.Begin();
  head_size_ = 0;
  state_ = State::kLine;
}

ParseState Http1ReplyParser::Head(Bytes& rest) {
  const Bytes allowed = rest.first(std::min(rest.size(), kMaxHttp1ReplyHeadBytes - head_size_));
  const ParseStep step = state_ == State::kLine ? line_.Parse(allowed) : fields_.Parse(allowed);
  rest = rest.subspan(step.used);
  head_size_ += step.used;
  if (step.state == ParseState::kEnd && state_ == State::kFields) return EndHead();
  if (step.state == ParseState::kBroken || head_size_ == kMaxHttp1ReplyHeadBytes) {
    return ParseState::kBroken;
  }
  if (step.state == ParseState::kEnd) EndLine(piece_size_ - rest.size());
  return ParseState::kMore;
}

// `end` is an offset in the current piece.
void Http1ReplyParser::EndLine(size_t end) {
  state_ = State::kFields;
  if (line_.status() < 200 || !(hint_ & kHttp1ReplyThenClose)) return;
  edit_ = {.offset = end, .text = kCloseField};
}

ParseState Http1ReplyParser::EndHead() {
  const Http1Facts& facts = fields_.facts();
  if (line_.status() == kSwitchingProtocols) return ParseState::kBroken;
  // HTTP/1.0 has no chunked coding, so the framing cannot be trusted.
  if (line_.minor_version() == 0 && facts.coding != Http1Facts::Coding::kNone) {
    return ParseState::kBroken;
  }
  if (line_.status() < 200) {
    BeginHead();
    return ParseState::kMore;
  }
  AdjustEdit();
  last_ = facts.close || (line_.minor_version() == 0 && !facts.keep_alive);
  return HasBody() ? BeginBody() : ParseState::kEnd;
}

// The head usually arrives in one piece; then its Connection field is known.
void Http1ReplyParser::AdjustEdit() {
  if (edit_.text.empty()) return;
  const Http1Facts& facts = fields_.facts();
  if (facts.close) {
    edit_ = {};
  } else if (facts.keep_alive) {
    edit_ = {.offset = edit_.offset + facts.keep_alive_offset,
             .replaced = Http1Facts::kKeepAliveSize,
             .text = kClose};
  }
}

bool Http1ReplyParser::HasBody() const {
  const int status = line_.status();
  const uint32_t asked = hint_ & kAskedMask;
  if (status == kNoContent || status == kNotModified || asked == kHttp1ReplyToHead) return false;
  return asked != kHttp1ReplyToConnect || status >= 300;
}

ParseState Http1ReplyParser::BeginBody() {
  const Http1Facts& facts = fields_.facts();
  if (facts.coding == Http1Facts::Coding::kChunked) {
    chunks_.Begin(std::numeric_limits<uint64_t>::max());
    state_ = State::kChunks;
    return ParseState::kMore;
  }
  if (!facts.content_length) {
    last_ = true;
    state_ = State::kUntilClose;
    return ParseState::kMore;
  }
  body_left_ = *facts.content_length;
  state_ = State::kBody;
  return body_left_ == 0 ? ParseState::kEnd : ParseState::kMore;
}

ParseState Http1ReplyParser::Body(Bytes& rest) {
  const size_t size = std::min<uint64_t>(body_left_, rest.size());
  rest = rest.subspan(size);
  body_left_ -= size;
  return body_left_ == 0 ? ParseState::kEnd : ParseState::kMore;
}

ParseState Http1ReplyParser::Chunks(Bytes& rest) {
  const ParseStep step = chunks_.Parse(rest);
  rest = rest.subspan(step.used);
  return step.state;
}

}  // namespace trunkline
