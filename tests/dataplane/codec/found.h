// Results per message for bytes that were fed at once, for tests of single messages. feed.h has the
// results for comparison.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "tests/dataplane/codec/feed.h"

namespace trunkline::test {

struct FoundRequest {
  static constexpr size_t kNever = SIZE_MAX;
  size_t size = 0;
  ParseState state = ParseState::kMore;  // kMore: the bytes ended first
  std::string fault;                     // kBroken: reason and offset in all bytes, "... at 5"
  // Bytes of the message that were used when the parser returned kStream.
  size_t streamed_at = kNever;
  Request at_stream;  // as known then
  Request request;    // at its end
};

struct FoundReply {
  size_t size = 0;
  ParseState state = ParseState::kMore;
  std::string fault;  // as above
  Reply reply;
  bool ends_at_close = false;
};

template <typename Found>
std::vector<Found> Sizes(const Fed& fed) {
  std::vector<Found> found;
  for (const std::string& message : fed.messages) {
    found.push_back({.size = message.size(), .state = ParseState::kEnd});
  }
  if (fed.broken) {
    found.push_back(
        {.state = ParseState::kBroken, .fault = absl::StrCat(fed.fault, " at ", fed.broken_at)});
  }
  if (!fed.rest.empty()) found.push_back({.size = fed.rest.size()});
  return found;
}

inline std::vector<FoundRequest> FindRequests(const Codec& codec, std::string_view bytes) {
  const std::unique_ptr<RequestParser> parser = codec.NewRequestParser();
  std::vector<Request> said;
  const auto note = [&] {
    said.push_back(parser->request());
    return std::string();
  };
  const Fed fed = FeedParser(*parser, {std::string(bytes)}, note, [](size_t) {});
  std::vector<FoundRequest> found = Sizes<FoundRequest>(fed);
  size_t start = 0;
  auto stream = fed.streams.begin();
  auto next = said.begin();
  for (FoundRequest& request : found) {
    const bool ended = request.state == ParseState::kEnd;
    if (stream != fed.streams.end() && (!ended || *stream <= start + request.size)) {
      request.streamed_at = *stream++ - start;
      request.at_stream = *next++;
    }
    if (ended) request.request = *next++;
    start += request.size;
  }
  return found;
}

// `hints[i]` is the hint of the request that reply i answers; 0 for replies beyond.
inline std::vector<FoundReply> FindReplies(const Codec& codec, std::string_view bytes,
                                           const std::vector<uint32_t>& hints = {}) {
  const std::unique_ptr<ReplyParser> parser = codec.NewReplyParser();
  std::vector<Reply> said;
  const auto note = [&] {
    said.push_back(parser->reply());
    return std::string();
  };
  const auto begin = [&](size_t i) { parser->Begin(i < hints.size() ? hints[i] : 0); };
  const Fed fed = FeedParser(*parser, {std::string(bytes)}, note, begin);
  std::vector<FoundReply> found = Sizes<FoundReply>(fed);
  for (size_t i = 0; i < said.size(); ++i) found[i].reply = said[i];
  if (!fed.rest.empty() && parser->EndsAtClose()) {
    found.back().ends_at_close = true;
    found.back().reply = parser->reply();
  }
  return found;
}

// The first reply in `pieces` with its edits, as its client gets it.
inline std::string EditedReply(const Codec& codec, const Pieces& pieces, uint32_t hint) {
  const std::unique_ptr<ReplyParser> parser = codec.NewReplyParser();
  parser->Begin(hint);
  std::string heard;
  size_t edits = 0;
  for (const std::string& piece : pieces) {
    const std::vector<uint8_t> bytes(piece.begin(), piece.end());
    const ParseStep step = parser->Parse(bytes);
    if (step.state == ParseState::kBroken) break;
    std::string used = piece.substr(0, step.used);
    if (const ReplyEdit edit = parser->edit(); !edit.text.empty()) {
      ++edits;
      EXPECT_LE(edit.offset + edit.replaced, step.used);
      EXPECT_LE(edit.text.size(), edit.replaced + ReplyEdit::kMostGrowth);
      used.replace(std::min(edit.offset, used.size()), edit.replaced, edit.text);
    }
    heard += used;
    if (step.state == ParseState::kEnd) break;
  }
  EXPECT_LE(edits, 1u);
  return heard;
}

// All splits into two pieces, into single bytes, and random ones.
inline void ExpectSameForEveryCut(std::string_view bytes,
                                  const std::function<Fed(const Pieces&)>& feed) {
  const Fed whole = FeedEverySplit(bytes, feed);
  const uint64_t seed = std::random_device()();
  FastRandom random(seed);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(feed(RandomPieces(bytes, random)), whole) << "seed " << seed << ", run " << i;
  }
}

inline void ExpectSameRequestsForEveryCut(const Codec& codec, std::string_view bytes) {
  ExpectSameForEveryCut(bytes, [&](const Pieces& pieces) { return FeedRequests(codec, pieces); });
}

inline void ExpectSameRepliesForEveryCut(const Codec& codec, std::string_view bytes,
                                         const std::vector<uint32_t>& hints = {}) {
  ExpectSameForEveryCut(bytes,
                        [&](const Pieces& pieces) { return FeedReplies(codec, pieces, hints); });
}

}  // namespace trunkline::test
