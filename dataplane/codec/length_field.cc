#include "dataplane/codec/length_field.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"
#include "dataplane/codec/symmetric_parsers.h"

namespace trunkline {
namespace {

// The place of the field and the bounds of its value. `min_value` and `max_value` include the
// adjustment, the limit and the shortest message, so two comparisons validate a value.
struct Layout {
  uint64_t length_offset;
  uint64_t header_bytes;  // up to and including the field
  ByteOrder byte_order;
  uint64_t min_value;
  uint64_t max_value;
  // Message bytes minus value, modulo 2^64; correct for every value within the two bounds.
  uint64_t difference;
};

class LengthFieldFramer {
 public:
  explicit LengthFieldFramer(const Layout& layout) : layout_(layout) {}

  ParseStep Parse(std::span<const uint8_t> bytes) {
    size_t used = 0;
    if (seen_ < layout_.header_bytes) {
      used = ReadHeader(bytes);
      if (seen_ < layout_.header_bytes) return {used, ParseState::kMore};
      if (value_ < layout_.min_value || value_ > layout_.max_value) {
        return {used, ParseState::kBroken};
      }
    }
    const uint64_t total = value_ + layout_.difference;
    const uint64_t rest = std::min<uint64_t>(bytes.size() - used, total - seen_);
    seen_ += rest;
    used += rest;
    if (seen_ < total) return {used, ParseState::kMore};
    seen_ = 0;
    value_ = 0;
    return {used, ParseState::kEnd};
  }

  std::string_view fault() const {
    return value_ < layout_.min_value ? "its length field counts less than its header"
                                      : "its length field counts more than max_message_bytes";
  }

 private:
  // Reads bytes up to the end of the field. Returns the number of used bytes.
  size_t ReadHeader(std::span<const uint8_t> bytes) {
    size_t used = 0;
    if (seen_ < layout_.length_offset) {
      used = std::min<uint64_t>(bytes.size(), layout_.length_offset - seen_);
      seen_ += used;
    }
    for (; used < bytes.size() && seen_ < layout_.header_bytes; ++used, ++seen_) {
      const uint64_t byte = bytes[used];
      if (layout_.byte_order == ByteOrder::kBig) {
        value_ = value_ << 8 | byte;
      } else {
        value_ |= byte << 8 * (seen_ - layout_.length_offset);
      }
    }
    return used;
  }

  Layout layout_;
  uint64_t seen_ = 0;  // bytes of the message so far
  uint64_t value_ = 0;
};

class LengthFieldCodec final : public Codec {
 public:
  LengthFieldCodec(const Layout& layout, std::optional<IdField> id, bool one_way)
      : layout_(layout), id_(id), one_way_(one_way) {}

  std::string_view name() const override { return "length_field"; }
  bool always_shares() const override { return true; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<SymmetricRequestParser<LengthFieldFramer>>(LengthFieldFramer(layout_),
                                                                       one_way_);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<SymmetricReplyParser<LengthFieldFramer>>(LengthFieldFramer(layout_));
  }
  std::optional<IdField> id_field() const override { return id_; }
  bool one_way() const override { return one_way_; }

 private:
  const Layout layout_;
  const std::optional<IdField> id_;
  const bool one_way_;
};

template <typename Expected, typename Got>
absl::Status Wrong(const char* option, const Expected& expected, const Got& got) {
  return absl::InvalidArgumentError(
      absl::StrCat("length_field: ", option, ": expected ", expected, "; got ", got));
}

uint64_t LargestValue(uint64_t length_size) {
  return length_size >= 8 ? UINT64_MAX : (uint64_t{1} << 8 * length_size) - 1;
}

// Validates the places of the field and the id.
absl::Status CheckPlaces(const LengthFieldOptions& options) {
  const uint64_t limit = options.max_message_bytes;
  const uint64_t size = options.length_size;
  if (limit < 1 || limit > kLargestMaxMessageBytes) {
    return Wrong("max_message_bytes", absl::StrCat("1 to ", kLargestMaxMessageBytes), limit);
  }
  if (size != 1 && size != 2 && size != 3 && size != 4 && size != 8) {
    return Wrong("length_size", "1, 2, 3, 4 or 8 bytes", size);
  }
  if (options.length_offset > limit || limit - options.length_offset < size) {
    return Wrong(
        "length_offset",
        absl::StrCat("a place where ", size, " bytes are within max_message_bytes (", limit, ")"),
        options.length_offset);
  }
  if (!options.id) return absl::OkStatus();
  if (options.one_way) {
    return Wrong("id_size", "none beside one_way, because no reply carries the id",
                 options.id->size);
  }
  const IdField& id = *options.id;
  if (id.size != 2 && id.size != 4 && id.size != 8) {
    return Wrong("id_size", "2, 4 or 8 bytes", id.size);
  }
  if (id.offset > limit || limit - id.offset < id.size) {
    return Wrong("id_offset",
                 absl::StrCat("a place where ", id.size, " bytes are within max_message_bytes (",
                              limit, ")"),
                 id.offset);
  }
  if (id.offset < options.length_offset + size && options.length_offset < id.offset + id.size) {
    return Wrong(
        "id_offset",
        absl::StrCat("a place outside of the length field (bytes ", options.length_offset, " to ",
                     options.length_offset + size - 1, "), because the id is rewritten"),
        id.offset);
  }
  return absl::OkStatus();
}

// At least one value of the field must make a message with a whole header within the limit.
absl::StatusOr<Layout> MakeLayout(const LengthFieldOptions& options) {
  const uint64_t header = options.length_offset + options.length_size;
  const uint64_t shortest =
      options.id ? std::max<uint64_t>(header, options.id->offset + options.id->size) : header;
  const uint64_t limit = options.max_message_bytes;
  constexpr int64_t kBound = kLargestMaxMessageBytes;
  if (options.length_adjustment < -kBound || options.length_adjustment > kBound) {
    return Wrong("length_adjustment", absl::StrCat(-kBound, " to ", kBound),
                 options.length_adjustment);
  }
  const int64_t difference = static_cast<int64_t>(header) + options.length_adjustment;
  if (difference > static_cast<int64_t>(limit)) {
    return Wrong(
        "length_adjustment",
        absl::StrCat("at most ", limit - header,
                     ", for the shortest message must be within max_message_bytes (", limit, ")"),
        options.length_adjustment);
  }
  const int64_t min_value = std::max<int64_t>(0, static_cast<int64_t>(shortest) - difference);
  const uint64_t largest = LargestValue(options.length_size);
  if (static_cast<uint64_t>(min_value) > largest) {
    return Wrong(
        "length_adjustment",
        absl::StrCat(
            "at least ", static_cast<int64_t>(shortest - header) - static_cast<int64_t>(largest),
            ", for the largest value (", largest, ") must make a message that has its header"),
        options.length_adjustment);
  }
  const uint64_t max_value =
      std::min(largest, static_cast<uint64_t>(static_cast<int64_t>(limit) - difference));
  return Layout{.length_offset = options.length_offset,
                .header_bytes = header,
                .byte_order = options.byte_order,
                .min_value = static_cast<uint64_t>(min_value),
                .max_value = max_value,
                .difference = static_cast<uint64_t>(difference)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Codec>> NewLengthFieldCodec(const LengthFieldOptions& options) {
  if (absl::Status places = CheckPlaces(options); !places.ok()) return places;
  const absl::StatusOr<Layout> layout = MakeLayout(options);
  if (!layout.ok()) return layout.status();
  return std::make_unique<LengthFieldCodec>(*layout, options.id, options.one_way);
}

}  // namespace trunkline
