// Feeds bytes to the parsers of a codec, cut into pieces in a given way, and lists the messages
// they found. Ends the process when a parser breaks the contract of codec.h. Without gtest, so that
// fuzz targets use it too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "common/random.h"
#include "dataplane/codec/codec.h"

namespace trunkline::test {

struct FoundRequest {
  // 0: it is broken. What was used of it then is nobody's business.
  size_t size = 0;
  // How many of its bytes had been used when it said kStream; kNever: it did not.
  size_t streamed_at = kNever;
  // kMore: the bytes ended first.
  ParseState state = ParseState::kMore;
  Request request;

  static constexpr size_t kNever = SIZE_MAX;
  bool operator==(const FoundRequest& other) const {
    return size == other.size && streamed_at == other.streamed_at && state == other.state &&
           request.dedicated == other.request.dedicated && request.last == other.request.last &&
           request.reply_hint == other.request.reply_hint &&
           request.blank_offset == other.request.blank_offset &&
           request.blank_size == other.request.blank_size;
  }
};

struct FoundReply {
  size_t size = 0;  // 0: it is broken
  ParseState state = ParseState::kMore;
  bool last = false;
  bool unasked = false;
  bool ends_at_close = false;
  bool operator==(const FoundReply&) const = default;
};

// How large the next piece is; at least 1.
using Cut = std::function<size_t()>;

inline Cut Whole() {
  return [] { return SIZE_MAX; };
}
inline Cut Bytewise() {
  return [] { return size_t{1}; };
}
inline Cut SplitAt(size_t place) {
  return [place, first = true]() mutable { return std::exchange(first, false) ? place : SIZE_MAX; };
}
inline Cut Random(FastRandom& random) {
  return [&random] { return 1 + random.Next() % (size_t{1} << (random.Next() % 8)); };
}

inline void Require(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "a parser broke its promise: %s\n", promise);
  std::abort();
}

// Each piece is moved to the end of a buffer, so that a sanitizer sees a read beyond it.
template <typename Found>
void FeedPieces(std::string_view bytes, const Cut& cut, std::vector<Found>& found,
                const std::function<ParseStep(std::span<const uint8_t>, Found&)>& parse) {
  std::vector<uint8_t> buffer(bytes.size());
  bool begun = false;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, cut());
    bytes.remove_prefix(piece.size());
    const std::span<uint8_t> place = std::span(buffer).last(piece.size());
    std::copy(piece.begin(), piece.end(), place.begin());
    std::span<const uint8_t> rest = place;
    while (!rest.empty()) {
      if (!begun) found.emplace_back();
      begun = true;
      const ParseStep step = parse(rest, found.back());
      Require(step.used <= rest.size(), "used <= size");
      Require(step.state != ParseState::kMore || step.used == rest.size(), "kMore uses all");
      Require(step.state != ParseState::kEnd || step.used > 0, "an end uses something");
      rest = rest.subspan(step.used);
      found.back().size += step.used;
      if (step.state != ParseState::kStream) found.back().state = step.state;
      if (step.state == ParseState::kBroken) {
        found.back().size = 0;
        return;
      }
      begun = step.state != ParseState::kEnd;
    }
  }
}

inline std::vector<FoundRequest> FindRequests(const Codec& codec, std::string_view bytes,
                                              const Cut& cut = Whole()) {
  const std::unique_ptr<RequestParser> parser = codec.NewRequestParser();
  std::vector<FoundRequest> found;
  FeedPieces<FoundRequest>(bytes, cut, found, [&](std::span<const uint8_t> rest, FoundRequest& at) {
    const ParseStep step = parser->Parse(rest);
    const Request request = parser->request();
    if (step.state == ParseState::kStream) {
      Require(at.streamed_at == FoundRequest::kNever, "kStream at most once");
      at.streamed_at = at.size + step.used;
      at.request = request;
    }
    if (step.state == ParseState::kEnd) {
      at.request = request;
      const size_t size = at.size + step.used;
      Require(request.blank_size <= size && request.blank_offset <= size - request.blank_size,
              "blanked bytes are the message's");
    }
    return step;
  });
  return found;
}

// `hints[i]` is the hint of the request that reply i answers; 0 for replies beyond.
inline std::vector<FoundReply> FindReplies(const Codec& codec, std::string_view bytes,
                                           const std::vector<uint32_t>& hints = {},
                                           const Cut& cut = Whole()) {
  const std::unique_ptr<ReplyParser> parser = codec.NewReplyParser();
  std::vector<FoundReply> found;
  FeedPieces<FoundReply>(bytes, cut, found, [&](std::span<const uint8_t> rest, FoundReply& at) {
    if (at.size == 0) parser->Begin(found.size() <= hints.size() ? hints[found.size() - 1] : 0);
    const ParseStep step = parser->Parse(rest);
    Require(step.state != ParseState::kStream, "a reply never says kStream");
    at.ends_at_close = step.state == ParseState::kMore && parser->EndsAtClose();
    if (step.state == ParseState::kEnd || at.ends_at_close) {
      at.last = parser->reply().last;
      at.unasked = parser->reply().unasked;
    }
    return step;
  });
  return found;
}

}  // namespace trunkline::test
