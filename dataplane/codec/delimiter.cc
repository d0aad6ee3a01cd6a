#include "dataplane/codec/delimiter.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"
#include "dataplane/codec/symmetric_parsers.h"

namespace trunkline {
namespace {

class DelimiterFramer {
 public:
  // NewDelimiterCodec has validated both arguments.
  DelimiterFramer(std::string_view delimiter, uint64_t max_message_bytes)
      : size_(static_cast<uint8_t>(delimiter.size())), max_message_bytes_(max_message_bytes) {
    std::copy(delimiter.begin(), delimiter.end(), delimiter_.begin());
    // borders_[n] is the length of the longest proper prefix of the first n bytes that is also
    // their suffix.
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

  std::string_view fault() const { return kNoDelimiterFault; }

 private:
  // Reads to the end of the delimiter or of `bytes`. Returns the number of used bytes.
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
      // Without a partial match, the byte is still unused and memchr reads it next.
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

using Prefixes = std::shared_ptr<const std::vector<std::string>>;

// Remembers the beginning of a request to decide whether it may share a connection.
class SelectiveRequestParser final : public RequestParser {
 public:
  SelectiveRequestParser(const DelimiterFramer& framer, Prefixes shared)
      : framer_(framer), shared_(std::move(shared)) {}

  ParseStep Parse(std::span<const uint8_t> bytes) override {
    if (std::exchange(ended_, false)) head_size_ = 0;
    const ParseStep step = framer_.Parse(bytes);
    const size_t kept = std::min(step.used, head_.size() - head_size_);
    std::copy_n(bytes.begin(), kept, head_.begin() + head_size_);
    head_size_ += static_cast<uint8_t>(kept);
    ended_ = step.state == ParseState::kEnd;
    return step;
  }
  Request request() const override {
    const std::string_view head(head_.data(), head_size_);
    const bool shared =
        std::any_of(shared_->begin(), shared_->end(),
                    [&](const std::string& prefix) { return head.starts_with(prefix); });
    return {.dedicated = !shared};
  }
  std::string_view fault() const override { return framer_.fault(); }

 private:
  DelimiterFramer framer_;
  const Prefixes shared_;
  std::array<char, kMaxSharedPrefixBytes> head_{};
  uint8_t head_size_ = 0;
  bool ended_ = false;  // the next byte begins another request
};

class DelimiterCodec final : public Codec {
 public:
  DelimiterCodec(const DelimiterFramer& framer, std::vector<std::string> shared, bool one_way)
      : framer_(framer),
        shared_(std::make_shared<const std::vector<std::string>>(std::move(shared))),
        one_way_(one_way) {}

  std::string_view name() const override { return "delimiter"; }
  bool always_shares() const override { return shared_->empty(); }
  bool one_way() const override { return one_way_; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    if (shared_->empty()) {
      return std::make_unique<SymmetricRequestParser<DelimiterFramer>>(framer_, one_way_);
    }
    return std::make_unique<SelectiveRequestParser>(framer_, shared_);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<SymmetricReplyParser<DelimiterFramer>>(framer_);
  }

 private:
  const DelimiterFramer framer_;  // the initial state, copied into each parser
  const Prefixes shared_;
  const bool one_way_;
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
  if (options.one_way && !options.shared_prefixes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("delimiter: shared_prefixes: expected none beside one_way; got ",
                     options.shared_prefixes.size()));
  }
  for (const std::string& prefix : options.shared_prefixes) {
    if (!prefix.empty() && prefix.size() <= kMaxSharedPrefixBytes) continue;
    return absl::InvalidArgumentError(absl::StrCat("delimiter: shared_prefixes: expected 1 to ",
                                                   kMaxSharedPrefixBytes, " bytes each; got ",
                                                   prefix.size()));
  }
  return std::make_unique<DelimiterCodec>(
      DelimiterFramer(options.delimiter, options.max_message_bytes), options.shared_prefixes,
      options.one_way);
}

}  // namespace trunkline
