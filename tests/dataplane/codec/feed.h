// Feeds a codec's parsers in pieces, as a proxy would, and collects the results.
//
// It also checks the invariants of every codec: a parser never uses more bytes than it was given, a
// message has at least one byte, and a step that asks for more has used all bytes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/random.h"
#include "dataplane/codec/codec.h"
#include "tests/common/hex.h"

namespace trunkline::test {

using Pieces = std::vector<std::string>;

struct Fed {
  std::vector<std::string> messages;  // those that ended
  // Properties of each complete message as text ("dedicated last hint=3").
  std::vector<std::string> notes;
  // Bytes of the incomplete message; empty if broken.
  std::string rest;
  bool broken = false;
  std::string fault;     // if broken: the reason
  size_t broken_at = 0;  // if broken: bytes of all messages used before
  // For each kStream: bytes of all messages used until then, and the message's properties.
  std::vector<size_t> streams;
  std::vector<std::string> stream_notes;

  friend bool operator==(const Fed&, const Fed&) = default;
  friend void PrintTo(const Fed& fed, std::ostream* out) {
    for (size_t i = 0; i < fed.messages.size(); ++i) {
      *out << "\n  \"" << absl::CHexEscape(fed.messages[i]) << "\" " << fed.notes[i];
    }
    *out << "\n  rest \"" << absl::CHexEscape(fed.rest) << "\"" << (fed.broken ? ", broken" : "");
    if (fed.broken) *out << " at " << fed.broken_at << ": " << fed.fault;
    for (size_t i = 0; i < fed.streams.size(); ++i) {
      *out << "\n  streamed at " << fed.streams[i] << " " << fed.stream_notes[i];
    }
  }
};

inline std::string Note(const Request& request) {
  std::vector<std::string> words;
  if (request.dedicated) words.emplace_back("dedicated");
  if (request.last) words.emplace_back("last");
  if (!request.repeatable) words.emplace_back("once");
  if (request.replies == Replies::kNone) words.emplace_back("none");
  if (request.replies == Replies::kMaybe) words.emplace_back("maybe");
  if (request.reply_hint != 0) words.push_back(absl::StrCat("hint=", request.reply_hint));
  if (request.blank_size != 0) {
    words.push_back(absl::StrCat("blank=", request.blank_offset, "+", request.blank_size));
  }
  if (request.local) words.push_back(absl::StrCat("local=", std::string(request.answer)));
  if (request.variant != 0) words.push_back(absl::StrCat("variant=", request.variant));
  if (!request.substitute.empty()) {
    words.push_back(absl::StrCat("substitute=", std::string(request.substitute)));
  }
  return absl::StrJoin(words, " ");
}

inline std::string Note(const Reply& reply) {
  std::vector<std::string> words;
  if (reply.last) words.emplace_back("last");
  if (reply.unasked) words.emplace_back("unasked");
  if (reply.delivery == Reply::Delivery::kDiscarded) words.emplace_back("discarded");
  if (reply.delivery == Reply::Delivery::kUndecided) words.emplace_back("undecided");
  return absl::StrJoin(words, " ");
}

// Calls `note` at the end of each message and at kStream, `begin` before its first byte.
template <typename Parser>
Fed FeedParser(Parser& parser, const Pieces& pieces, const std::function<std::string()>& note,
               const std::function<void(size_t)>& begin) {
  Fed fed;
  bool began = false;
  bool streamed = false;
  size_t all_used = 0;
  for (const std::string& piece : pieces) {
    // An exact copy, so that a sanitizer detects a read past its end.
    const std::vector<uint8_t> bytes(piece.begin(), piece.end());
    for (std::span<const uint8_t> left = bytes; !left.empty();) {
      if (!began) begin(fed.messages.size());
      began = true;
      const ParseStep step = parser.Parse(left);
      EXPECT_LE(step.used, left.size()) << "used more bytes than it was given";
      const size_t used = std::min(step.used, left.size());
      fed.rest.append(left.begin(), left.begin() + static_cast<ptrdiff_t>(used));
      left = left.subspan(used);
      all_used += used;
      if (step.state == ParseState::kBroken) {
        fed.broken = true;
        fed.fault = parser.fault();
        EXPECT_NE(fed.fault, "");
        fed.broken_at = all_used;
        fed.rest.clear();
        return fed;
      }
      if (step.state == ParseState::kEnd) {
        EXPECT_FALSE(fed.rest.empty()) << "a message of no bytes";
        if (fed.rest.empty()) return fed;
        fed.messages.push_back(std::move(fed.rest));
        fed.notes.push_back(note());
        fed.rest.clear();
        began = streamed = false;
        continue;
      }
      if (step.state == ParseState::kStream) {
        EXPECT_FALSE(streamed) << "kStream twice in one message";
        if (streamed) return fed;
        streamed = true;
        fed.streams.push_back(all_used);
        fed.stream_notes.push_back(note());
        continue;
      }
      EXPECT_TRUE(left.empty()) << "asks for more and left " << left.size() << " bytes";
      if (!left.empty()) return fed;
    }
  }
  return fed;
}

// Feeds the pieces that a client sends.
inline Fed FeedRequests(const Codec& codec, const Pieces& pieces) {
  const std::unique_ptr<RequestParser> parser = codec.NewRequestParser();
  return FeedParser(
      *parser, pieces, [&] { return Note(parser->request()); }, [](size_t) {});
}

// Feeds the pieces that a server sends. Reply i answers a request with hints[i], or 0 beyond.
inline Fed FeedReplies(const Codec& codec, const Pieces& pieces,
                       const std::vector<uint32_t>& hints = {}) {
  const std::unique_ptr<ReplyParser> parser = codec.NewReplyParser();
  return FeedParser(
      *parser, pieces, [&] { return Note(parser->reply()); },
      [&](size_t i) { parser->Begin(i < hints.size() ? hints[i] : 0); });
}

inline Pieces OneByOne(std::string_view text) {
  Pieces pieces;
  for (const char c : text) pieces.emplace_back(1, c);
  return pieces;
}

// Pieces from 1 byte to the whole text, short ones more often.
inline Pieces RandomPieces(std::string_view text, FastRandom& random) {
  Pieces pieces;
  while (!text.empty()) {
    const uint64_t most = uint64_t{1} << random.Next() % 12;
    const size_t size = std::min<uint64_t>(1 + random.Next() % most, text.size());
    pieces.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return pieces;
}

// Feeds `text` at once, in two pieces split at each place, and byte by byte, and expects the same
// result. Returns it. `feed` is [&](const Pieces& pieces) { return FeedRequests(*codec, pieces);
// }.
inline Fed FeedEverySplit(std::string_view text, const std::function<Fed(const Pieces&)>& feed) {
  Fed whole = feed({std::string(text)});
  for (size_t at = 1; at < text.size(); ++at) {
    EXPECT_EQ(feed({std::string(text.substr(0, at)), std::string(text.substr(at))}), whole)
        << "split at byte " << at;
  }
  EXPECT_EQ(feed(OneByOne(text)), whole) << "byte by byte";
  return whole;
}

// Runs both parsers of a codec with the same framing for requests and replies, with every split.
inline Fed FeedBothWays(const Codec& codec, std::string_view text) {
  const auto requests = [&](const Pieces& pieces) { return FeedRequests(codec, pieces); };
  const auto replies = [&](const Pieces& pieces) { return FeedReplies(codec, pieces); };
  Fed fed = FeedEverySplit(text, requests);
  Fed of_replies = FeedEverySplit(text, replies);
  of_replies.notes = fed.notes;  // which only requests have
  EXPECT_EQ(of_replies, fed) << "requests and replies differ";
  return fed;
}

// Converts "80 00 00 05" to bytes; blanks are ignored.
inline std::string Hex(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits.push_back(c);
  }
  return BytesOfHex(digits);
}

}  // namespace trunkline::test
