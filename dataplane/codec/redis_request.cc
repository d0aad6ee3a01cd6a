#include "dataplane/codec/redis_request.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_introduction.h"

namespace trunkline {
namespace {

// Redis closes a connection with a longer string, array or line.
constexpr int64_t kMaxStringBytes = 512 * 1024 * 1024;
constexpr int64_t kMaxStrings = std::numeric_limits<int32_t>::max();
constexpr uint64_t kMaxInlineBytes = 64 * 1024;

constexpr uint64_t kEmptyStringBytes = 6;      // "$0\r\n\r\n", the shortest string
constexpr uint64_t kShortestCommandBytes = 2;  // "x\n"
constexpr uint64_t kStringEndBytes = 2;        // CR LF

// The server's reply tells its version and role. On a connection of that version it changes
// nothing.
constexpr std::string_view kHello[kMostVariants] = {"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n",
                                                    "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"};

Denial DenialOf(RedisReaction reaction) {
  switch (reaction) {
    case RedisReaction::kNoAuth:
    case RedisReaction::kHelloNoAuth:
      return Denial::kNoCredential;
    case RedisReaction::kWrongPassword:
      return Denial::kWrongCredential;
    default:
      return Denial::kNone;
  }
}

// The bytes that end a word of an inline command, and those that may precede one (sdssplitargs of
// Redis).
bool EndsWord(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }
bool SkippedBeforeWord(uint8_t byte) { return EndsWord(byte) || byte == '\v' || byte == '\f'; }

}  // namespace

ParseStep RedisRequestParser::Parse(std::span<const uint8_t> bytes) {
  Bytes rest = bytes;
  ParseState state = ParseState::kMore;
  while (!rest.empty() && state == ParseState::kMore) state = Advance(rest);
  if (state == ParseState::kEnd) state_ = State::kEnded;
  return {bytes.size() - rest.size(), state};
}

Request RedisRequestParser::request() const {
  Request request = {.repeatable = classifier_.repeatable(), .variant = session_.variant};
  if (streamed_ || reaction_ == RedisReaction::kDedicate) {
    request.dedicated = true;
    return request;
  }
  if (reaction_ != RedisReaction::kForward) {
    request.last = reaction_ == RedisReaction::kOk && classifier_.quits();
    request.repeatable = false;
    request.local = true;
    request.answer = AnswerOf(reaction_);
    request.denial = DenialOf(reaction_);
  } else if (classifier_.is_hello()) {
    request.repeatable = true;
    request.substitute = kHello[session_.variant];
  }
  return request;
}

std::string_view RedisRequestParser::fault() const {
  if (refused_) return "a command above max_message_bytes came before AUTH";
  switch (state_) {
    case State::kCount:
    case State::kLength:
      return "a count or length is no plain number within the limits of Redis";
    case State::kStringSign:
      return "an argument does not begin with $";
    case State::kStringCr:
    case State::kStringLf:
      return "a string does not end with CR LF where its length says";
    default:
      return "an inline command contains a NUL";
  }
}

ParseState RedisRequestParser::Advance(Bytes& rest) {
  switch (state_) {
    case State::kEnded:
      classifier_.Begin();
      introduction_.reset();
      reaction_ = RedisReaction::kForward;
      seen_ = 0;
      quoted_ = streamed_ = false;
      state_ = State::kStart;
      return ParseState::kMore;
    case State::kStart:
      return Start(rest);
    case State::kInline:
      return Inline(rest);
    case State::kCount:
    case State::kLength:
      return Number(rest);
    case State::kStringSign:
      number_.Begin();
      return Expect('$', State::kLength, rest);
    case State::kString:
      return String(rest);
    case State::kStringCr:
      return Expect('\r', State::kStringLf, rest);
    case State::kStringLf:
      if (Expect('\n', State::kStringSign, rest) != ParseState::kMore) return ParseState::kBroken;
      return EndString();
  }
  return ParseState::kBroken;
}

ParseState RedisRequestParser::Start(Bytes& rest) {
  if (rest[0] == '*') {
    number_.Begin();
    return Expect('*', State::kCount, rest);
  }
  line_start_ = seen_;
  in_word_ = has_word_ = false;
  state_ = State::kInline;
  return ParseState::kMore;
}

ParseState RedisRequestParser::Expect(uint8_t byte, State next, Bytes& rest) {
  if (rest[0] != byte) return ParseState::kBroken;
  Take(1, rest);
  state_ = next;
  return ParseState::kMore;
}

ParseState RedisRequestParser::Number(Bytes& rest) {
  ParseState state = ParseState::kMore;
  size_t used = 0;
  while (used < rest.size() && state == ParseState::kMore) state = number_.Next(rest[used++]);
  Take(state == ParseState::kBroken ? used - 1 : used, rest);
  if (state != ParseState::kEnd) return state;
  return state_ == State::kCount ? EndCount(number_.value()) : EndLength(number_.value());
}

ParseState RedisRequestParser::EndCount(int64_t count) {
  if (count > kMaxStrings) return ParseState::kBroken;
  if (count <= 0) {
    state_ = State::kStart;
    return Announced(kShortestCommandBytes);
  }
  strings_left_ = count;
  state_ = State::kStringSign;
  return Announced(strings_left_ * kEmptyStringBytes);
}

ParseState RedisRequestParser::EndLength(int64_t length) {
  if (length < 0 || length > kMaxStringBytes) return ParseState::kBroken;
  string_left_ = length;
  --strings_left_;
  state_ = State::kString;
  return Announced(string_left_ + kStringEndBytes + strings_left_ * kEmptyStringBytes);
}

ParseState RedisRequestParser::String(Bytes& rest) {
  const size_t size = std::min<uint64_t>(string_left_, rest.size());
  AddToWord(rest.first(size));
  string_left_ -= size;
  Take(size, rest);
  if (string_left_ == 0) state_ = State::kStringCr;
  return ParseState::kMore;
}

ParseState RedisRequestParser::EndString() {
  EndWord();
  return strings_left_ == 0 ? EndCommand() : ParseState::kMore;
}

void RedisRequestParser::AddToWord(std::span<const uint8_t> piece) {
  classifier_.Add(piece);
  if (introduction_ != nullptr) introduction_->Add(piece);
}

void RedisRequestParser::EndWord() {
  classifier_.EndWord();
  if (introduction_ != nullptr) return introduction_->EndArgument();
  using Command = RedisIntroduction::Command;
  if (classifier_.is_auth()) introduction_ = std::make_unique<RedisIntroduction>(Command::kAuth);
  if (classifier_.is_hello()) introduction_ = std::make_unique<RedisIntroduction>(Command::kHello);
}

ParseState RedisRequestParser::EndCommand() {
  reaction_ = React();
  introduction_.reset();
  return ParseState::kEnd;
}

RedisReaction RedisRequestParser::React() {
  if (streamed_) return RedisReaction::kDedicate;
  if (!quoted_) {
    if (classifier_.quits()) return RedisReaction::kOk;
    if (introduction_ != nullptr) return introduction_->Decide(credential_.get(), session_);
  }
  if (!session_.authenticated) return RedisReaction::kNoAuth;
  if (quoted_) return RedisReaction::kDedicate;
  if (classifier_.answered_ok()) return RedisReaction::kOk;
  if (classifier_.unknown_subcommand()) return RedisReaction::kUnknownSubcommand;
  return classifier_.dedicated() ? RedisReaction::kDedicate : RedisReaction::kForward;
}

ParseState RedisRequestParser::Inline(Bytes& rest) {
  const size_t room = std::min<uint64_t>(InlineRoom(), rest.size());
  for (size_t i = 0; i < room; ++i) {
    const uint8_t byte = rest[i];
    if (byte == '\n') {
      Take(i + 1, rest);
      return EndInline();
    }
    // Redis ignores the rest of the line behind a NUL, so it sees another command.
    if (byte == '\0') {
      Take(i, rest);
      return ParseState::kBroken;
    }
    OnInlineByte(byte);
  }
  Take(room, rest);
  return InlineRoom() > 0 ? ParseState::kMore : Stream();
}

// A dedicated connection is authenticated by the proxy, so it is not for a client that is not.
ParseState RedisRequestParser::Stream() {
  refused_ = !session_.authenticated;
  if (refused_) return ParseState::kBroken;
  streamed_ = true;
  return ParseState::kStream;
}

void RedisRequestParser::OnInlineByte(uint8_t byte) {
  // Quotes can hide a command's name, and unbalanced ones end the connection.
  quoted_ |= byte == '"' || byte == '\'';
  if (in_word_ ? EndsWord(byte) : SkippedBeforeWord(byte)) {
    if (in_word_) EndWord();
    in_word_ = false;
    return;
  }
  in_word_ = has_word_ = true;
  AddToWord({&byte, 1});
}

ParseState RedisRequestParser::EndInline() {
  if (in_word_) EndWord();
  if (has_word_) return EndCommand();
  state_ = State::kStart;
  return Announced(kShortestCommandBytes);
}

uint64_t RedisRequestParser::InlineRoom() const {
  if (streamed_) return std::numeric_limits<uint64_t>::max();
  const uint64_t line_left = kMaxInlineBytes - (seen_ - line_start_);
  return std::min(line_left, max_bytes_ - std::min(max_bytes_, seen_));
}

ParseState RedisRequestParser::Announced(uint64_t bytes) {
  return streamed_ || seen_ + bytes <= max_bytes_ ? ParseState::kMore : Stream();
}

}  // namespace trunkline
