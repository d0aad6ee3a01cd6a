#include "tests/dataplane/seeded_messages.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/length_field.h"
#include "tests/dataplane/seeded_end.h"

namespace trunkline::test {
namespace {

constexpr size_t kMostBytes = 256 * 1024;
constexpr size_t kIdBytes = 2;
constexpr size_t kHeaderBytes = kIdBytes + 4;
// More than one read of the proxy takes, which is 64 KiB.
constexpr size_t kLargeAnswer = 90'000;

// Mostly small; `most` now and then.
size_t SizeUpTo(FastRandom& random, size_t most) {
  const uint64_t dice = random.Next() % 128;
  const size_t limit = dice == 0 ? most : dice < 8 ? 5000 : dice < 16 ? 8 : 200;
  return 1 + random.Next() % std::min(limit, most);
}

// Any byte but the end of a line, so that every protocol can carry it.
void Fill(std::string& content, size_t size, uint64_t seed) {
  Sequence sequence(seed);
  while (content.size() < size) {
    const auto byte = static_cast<char>(sequence.Next());
    content.push_back(byte == '\n' ? ' ' : byte);
  }
}

uint64_t HashOf(std::string_view text) {
  uint64_t hash = text.size();
  for (const char byte : text) hash = FastRandom(hash ^ static_cast<uint8_t>(byte)).Next();
  return hash;
}

}  // namespace

std::shared_ptr<const Codec> CodecOf(Framing framing) {
  if (framing == Framing::kLines) {
    return NewDelimiterCodec({.delimiter = "\n", .max_message_bytes = kMostBytes}).value();
  }
  return NewLengthFieldCodec({.length_offset = kIdBytes,
                              .length_size = 4,
                              .max_message_bytes = kMostBytes,
                              .id = IdField{.offset = 0, .size = kIdBytes}})
      .value();
}

std::string RequestOf(uint64_t client, uint32_t number, size_t most_bytes) {
  FastRandom random(client ^ uint64_t{number} << 40);
  const size_t size = SizeUpTo(random, most_bytes);
  std::string content;
  if (size >= kNamedBytes) content = absl::StrCat("client ", client, " request ", number, " ");
  Fill(content, size, random.Next());
  return content;
}

std::string AnswerTo(const std::string& request) {
  FastRandom random(HashOf(request));
  const size_t size = SizeUpTo(random, kLargeAnswer);
  std::string content = request.substr(0, std::min(size, kNamedBytes));
  Fill(content, size, random.Next());
  return content;
}

std::string Wrap(Framing framing, uint16_t id, const std::string& content) {
  if (framing == Framing::kLines) return content + "\n";
  std::string message;
  for (const int shift : {8, 0}) message.push_back(static_cast<char>(id >> shift));
  for (const int shift : {24, 16, 8, 0}) {
    message.push_back(static_cast<char>(content.size() >> shift));
  }
  return message + content;
}

std::optional<Unwrapper::Message> Unwrapper::Next() {
  return framing_ == Framing::kLines ? NextLine() : NextFrame();
}

std::optional<Unwrapper::Message> Unwrapper::NextLine() {
  const size_t end = bytes_.find('\n', looked_at_);
  looked_at_ = end == std::string::npos ? bytes_.size() : 0;
  if (end == std::string::npos) return std::nullopt;
  Message message{.content = bytes_.substr(0, end)};
  bytes_.erase(0, end + 1);
  return message;
}

std::optional<Unwrapper::Message> Unwrapper::NextFrame() {
  if (bytes_.size() < kHeaderBytes) return std::nullopt;
  size_t header[kHeaderBytes];
  std::transform(bytes_.begin(), bytes_.begin() + kHeaderBytes, header,
                 [](char byte) { return static_cast<uint8_t>(byte); });
  const size_t size = header[2] << 24 | header[3] << 16 | header[4] << 8 | header[5];
  if (bytes_.size() < kHeaderBytes + size) return std::nullopt;
  Message message{.id = static_cast<uint16_t>(header[0] << 8 | header[1]),
                  .content = bytes_.substr(kHeaderBytes, size)};
  bytes_.erase(0, kHeaderBytes + size);
  return message;
}

}  // namespace trunkline::test
