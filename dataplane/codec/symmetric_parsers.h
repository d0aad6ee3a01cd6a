// The two parsers of a protocol whose requests and replies have the same framing.
//
// A framer is a value with `ParseStep Parse(std::span<const uint8_t>)` and `std::string_view
// fault()` that follow the contract in codec.h. Each parser owns a copy, so parsers may outlive
// their codec. Parsers: confined to their connection.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "dataplane/codec/codec.h"

namespace trunkline {

template <typename Framer>
class SymmetricRequestParser final : public RequestParser {
 public:
  explicit SymmetricRequestParser(Framer framer, bool one_way = false)
      : framer_(std::move(framer)), replies_(one_way ? Replies::kNone : Replies::kOne) {}
  ParseStep Parse(std::span<const uint8_t> bytes) override { return framer_.Parse(bytes); }
  Request request() const override { return {.replies = replies_}; }
  std::string_view fault() const override { return framer_.fault(); }

 private:
  Framer framer_;
  const Replies replies_;
};

template <typename Framer>
class SymmetricReplyParser final : public ReplyParser {
 public:
  explicit SymmetricReplyParser(Framer framer) : framer_(std::move(framer)) {}
  ParseStep Parse(std::span<const uint8_t> bytes) override { return framer_.Parse(bytes); }
  std::string_view fault() const override { return framer_.fault(); }

 private:
  Framer framer_;
};

}  // namespace trunkline
