#include "dataplane/codec/delimiter.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "dataplane/codec/symmetric_parsers.h"

namespace trunkline {
namespace {

class DelimiterFramer {
 public:
  // `delimiter` and `max_message_bytes` as NewDelimiterCodec has checked them.
  DelimiterFramer(std::string_view delimiter, uint64_t max_message_bytes)
      : size_(static_cast<uint8_t>(delimiter.size())), max_message_bytes_(max_message_bytes) {
    std::copy(delimiter.begin(), delimiter.end(), delimiter_.begin());
    // borders_[n]: of the first n bytes, the longest proper beginning that is also their end.
    uint8_t border = 0;
    for (uint8_t n = 1; n < size_; ++n) {
      while (border > 0 && delimiter_[n] != delimiter_[border]) border = borders_[border];
      if (delimiter_[n] == delimiter_[border]) ++border;
      borders_[n + 1] = border;
    }
  }

  ParseStep Parse(std::span<const uint8_t> bytes) {
    const size_t allowed = std::min<uint64_t>(bytes.size(), max_message_bytes_ - seen_);
    const size_t used = Match(bytes.first(allowed));
    seen_ += used;
    if (matched_ == size_) {
      seen_ = 0;
      matched_ = 0;
      return {used, ParseState::kEnd};
    }
    return {used, seen_ == max_message_bytes_ ? ParseState::kBroken : ParseState::kMore};
  }

 private:
  // Up to the end of the delimiter or of `bytes`. Returns how many were used.
  size_t Match(std::span<const uint8_t> bytes) {
    size_t at = 0;
    while (at < bytes.size() && matched_ < size_) {
      if (matched_ == 0) {
        const void* first = std::memchr(bytes.data() + at, delimiter_[0], bytes.size() - at);
        if (first == nullptr) return bytes.size();
        at = static_cast<const uint8_t*>(first) - bytes.data() + 1;
        matched_ = 1;
        continue;
      }
      const uint8_t byte = bytes[at];
      while (matched_ > 0 && byte != delimiter_[matched_]) matched_ = borders_[matched_];
      // With nothing matched the byte is still unused: memchr is next to see it.
      if (matched_ == 0) continue;
      ++matched_;
      ++at;
    }
    return at;
  }

  std::array<uint8_t, kMaxDelimiterBytes> delimiter_{};
  std::array<uint8_t, kMaxDelimiterBytes + 1> borders_{};
  uint8_t size_;
  uint8_t matched_ = 0;
  uint64_t max_message_bytes_;
  uint64_t seen_ = 0;  // bytes of the message so far
};

class DelimiterCodec final : public Codec {
 public:
  explicit DelimiterCodec(const DelimiterFramer& framer) : framer_(framer) {}

  std::string_view name() const override { return "delimiter"; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<SymmetricRequestParser<DelimiterFramer>>(framer_);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<SymmetricReplyParser<DelimiterFramer>>(framer_);
  }

 private:
  const DelimiterFramer framer_;  // at the front of a message; copied for each parser
};

}  // namespace

absl::StatusOr<std::unique_ptr<Codec>> NewDelimiterCodec(const DelimiterOptions& options) {
  const size_t size = options.delimiter.size();
  if (size < 1 || size > kMaxDelimiterBytes) {
    return absl::InvalidArgumentError(absl::StrCat("delimiter: delimiter: expected 1 to ",
                                                   kMaxDelimiterBytes, " bytes; got ", size));
  }
  if (options.max_message_bytes < size || options.max_message_bytes > kLargestMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("delimiter: max_message_bytes: expected ", size, " (the delimiter alone) to ",
                     kLargestMaxMessageBytes, "; got ", options.max_message_bytes));
  }
  return std::make_unique<DelimiterCodec>(
      DelimiterFramer(options.delimiter, options.max_message_bytes));
}

}  // namespace trunkline
