#include "dataplane/codec/http1_request.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_fields.h"

namespace trunkline {

ParseStep Http1RequestParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

std::string_view Http1RequestParser::fault() const {
  if (state_ == State::kChunks) return chunks_.fault();
  const bool head_ended = state_ == State::kFields && fields_.ended();
  if (!head_ended && head_size_ == kMaxHttp1RequestHeadBytes) return "its head exceeds 16 KiB";
  if (state_ == State::kLine) return line_.fault();
  if (!head_ended) return fields_.fault();
  const Http1Facts& facts = fields_.facts();
  if (facts.coding == Http1Facts::Coding::kOther)
    return "its Transfer-Encoding does not end in chunked";
  if (facts.hosts != 1) return "it has no Host or more than one";
  return "HTTP/1.0 has no Transfer-Encoding";
}

ParseState Http1RequestParser::Advance(Bytes& rest) {
  switch (state_) {
    case State::kEnded:
      line_.Begin();
      fields_.Begin();
      head_size_ = 0;
      request_ = {};
      state_ = State::kLine;
      return ParseState::kMore;
    case State::kLine:
    case State::kFields:
      return Head(rest);
    case State::kBody:
      return Body(rest);
    case State::kChunks:
      return Chunks(rest);
  }
  return ParseState::kBroken;
}

ParseState Http1RequestParser::Head(Bytes& rest) {
  const Bytes allowed = rest.first(std::min(rest.size(), kMaxHttp1RequestHeadBytes - head_size_));
  const ParseStep step = state_ == State::kLine ? line_.Parse(allowed) : fields_.Parse(allowed);
  rest = rest.subspan(step.used);
  head_size_ += step.used;
  if (step.state == ParseState::kEnd && state_ == State::kFields) return EndHead();
  if (step.state == ParseState::kBroken || head_size_ == kMaxHttp1RequestHeadBytes) {
    return ParseState::kBroken;
  }
  if (step.state == ParseState::kEnd) {
    fields_start_ = head_size_;
    state_ = State::kFields;
  }
  return ParseState::kMore;
}

ParseState Http1RequestParser::EndHead() {
  if (!HeadIsValid()) return ParseState::kBroken;
  FillRequest();
  // No HTTP follows.
  if (line_.method() == Http1RequestLine::Method::kConnect) return ParseState::kEnd;
  return BeginBody();
}

bool Http1RequestParser::HeadIsValid() const {
  const Http1Facts& facts = fields_.facts();
  // A request needs a known end, so its last coding must be chunked, which HTTP/1.0 does not have.
  if (facts.coding == Http1Facts::Coding::kOther) return false;
  if (line_.minor_version() == 1) return facts.hosts == 1;
  return facts.coding == Http1Facts::Coding::kNone && facts.hosts <= 1;
}

// The methods of RFC 9110 9.2.2, the most frequent first, and those of the configuration.
bool Http1RequestParser::IsIdempotent() const {
  const std::string_view name = line_.method_name();
  for (const std::string_view known : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    if (name == known) return true;
  }
  return std::find(idempotent_methods_->begin(), idempotent_methods_->end(), name) !=
         idempotent_methods_->end();
}

void Http1RequestParser::FillRequest() {
  const Http1Facts& facts = fields_.facts();
  const Http1RequestLine::Method method = line_.method();
  const bool connect = method == Http1RequestLine::Method::kConnect;
  request_.dedicated = connect || facts.upgrade;
  request_.repeatable = IsIdempotent();
  request_.last = facts.close || (line_.minor_version() == 0 && !facts.keep_alive);
  if (connect) request_.reply_hint = kHttp1ReplyToConnect;
  if (method == Http1RequestLine::Method::kHead) request_.reply_hint = kHttp1ReplyToHead;
  if (request_.last && !request_.dedicated) request_.reply_hint |= kHttp1ReplyThenClose;
  // Only the first "close" is blanked. After a second one, the server's reply announces its close.
  if (facts.close && !request_.dedicated) {
    request_.blank_offset = fields_start_ + facts.close_offset;
    request_.blank_size = Http1Facts::kCloseSize;
  }
}

ParseState Http1RequestParser::BeginBody() {
  const Http1Facts& facts = fields_.facts();
  const uint64_t room = max_bytes_ - std::min<uint64_t>(max_bytes_, head_size_);
  const bool chunked = facts.coding == Http1Facts::Coding::kChunked;
  body_left_ = chunked ? Http1Chunked::kSmallestBytes : facts.content_length.value_or(0);
  if (body_left_ == 0) return ParseState::kEnd;
  // The client sends the body only after the server has answered the head.
  const bool waits = facts.expects_continue && line_.minor_version() == 1;
  const bool streamed = waits || body_left_ > room;
  state_ = chunked ? State::kChunks : State::kBody;
  if (chunked) chunks_.Begin(streamed ? std::numeric_limits<uint64_t>::max() : room);
  return streamed ? ParseState::kStream : ParseState::kMore;
}

ParseState Http1RequestParser::Body(Bytes& rest) {
  const size_t size = std::min<uint64_t>(body_left_, rest.size());
  rest = rest.subspan(size);
  body_left_ -= size;
  return body_left_ == 0 ? ParseState::kEnd : ParseState::kMore;
}

ParseState Http1RequestParser::Chunks(Bytes& rest) {
  const ParseStep step = chunks_.Parse(rest);
  rest = rest.subspan(step.used);
  return step.state;
}

}  // namespace trunkline
