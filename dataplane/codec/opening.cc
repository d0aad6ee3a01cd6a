#include "dataplane/codec/opening.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "dataplane/codec/codec.h"

namespace trunkline {
namespace {

// Bytes of the reply that are kept for the log: enough for an error's text.
constexpr size_t kKeptBytes = 200;

}  // namespace

std::string QuoteForLog(std::span<const uint8_t> bytes) {
  const std::span<const uint8_t> shown = bytes.first(std::min(bytes.size(), kMostQuotedBytes));
  return absl::StrCat(", which begin with \"",
                      absl::CHexEscape(std::string(shown.begin(), shown.end())), "\"");
}

std::unique_ptr<ConnectionOpening> ConnectionOpening::For(const std::shared_ptr<const Codec>& codec,
                                                          uint8_t variant) {
  if (codec->Opening(variant).empty()) return nullptr;
  return std::unique_ptr<ConnectionOpening>(new ConnectionOpening(codec, variant));
}

ConnectionOpening::ConnectionOpening(std::shared_ptr<const Codec> codec, uint8_t variant)
    : codec_(std::move(codec)), variant_(variant) {
  Restart();
}

void ConnectionOpening::Restart() {
  parser_ = codec_->NewReplyParser();
  parser_->Begin(0);
  reply_.clear();
  fault_.clear();
}

ConnectionOpening::Step ConnectionOpening::Read(std::span<const uint8_t> bytes) {
  const ParseStep step = parser_->Parse(bytes);
  const size_t kept = std::min(step.used, kKeptBytes - reply_.size());
  reply_.append(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(kept));
  if (step.state == ParseState::kBroken) {
    fault_ = absl::StrCat("the server's answer to the opening of the connection is no reply of ",
                          std::string(codec_->name()), ": ", std::string(parser_->fault()));
    return {step.used, State::kBroken};
  }
  if (step.state != ParseState::kEnd) return {step.used, State::kMore};
  if (parser_->reply().unasked) {
    fault_ = "the server sent a push before it answered the opening of the connection";
    return {step.used, State::kBroken};
  }
  const std::string refusal = codec_->OpeningRefusal(reply_);
  if (refusal.empty()) return {step.used, State::kAccepted};
  fault_ = absl::StrCat("the server refused the opening of the connection: ", refusal);
  return {step.used, codec_->LacksVariant(reply_) ? State::kLacking : State::kRefused};
}

}  // namespace trunkline
