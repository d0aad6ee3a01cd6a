#include "tests/dataplane/whole/seeded_messages.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/codec/memcached.h"
#include "dataplane/codec/redis.h"
#include "tests/dataplane/whole/seeded_end.h"

namespace trunkline::test {
namespace {

constexpr size_t kMostBytes = 256 * 1024;
constexpr size_t kIdBytes = 2;
constexpr size_t kHeaderBytes = kIdBytes + 4;
// A request has the content as an argument; a reply is the content alone.
constexpr char kRedisCommand[] = "*2\r\n$4\r\nECHO\r\n";
constexpr char kRedisEnd[] = "\r\n";
constexpr char kLineEnd[] = "\r\n";
// A command whose reply its client does not want, whatever it is, and one that has the content.
constexpr char kMemcachedQuiet[] = "ma q q v";
constexpr char kMemcachedQuietBlanked[] = "ma q   v";
constexpr char kMemcachedCommand[] = "ms k ";
constexpr char kMemcachedValue[] = "VA ";
// More than the 64 KiB that the proxy takes in one read.
constexpr size_t kLargeAnswer = 90'000;

// Mostly small; `most` now and then.
size_t SizeUpTo(FastRandom& random, size_t most) {
  const uint64_t dice = random.Next() % 128;
  const size_t limit = dice == 0 ? most : dice < 8 ? 5000 : dice < 16 ? 8 : 200;
  return 1 + random.Next() % std::min(limit, most);
}

// Any byte except a line feed, so that every protocol can carry it.
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
  if (framing == Framing::kRedis) return NewRedisCodec({.max_request_bytes = kMostBytes});
  if (framing == Framing::kMemcached) return NewMemcachedCodec({.max_request_bytes = kMostBytes});
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

std::string WrapRequest(Framing framing, uint16_t id, const std::string& content) {
  if (framing == Framing::kMemcached) {
    return absl::StrCat(kMemcachedQuiet, kLineEnd, kMemcachedCommand, content.size(), kLineEnd,
                        content, kLineEnd);
  }
  const std::string message = WrapReply(framing, id, content);
  return framing == Framing::kRedis ? kRedisCommand + message : message;
}

std::string WrapReply(Framing framing, uint16_t id, const std::string& content) {
  if (framing == Framing::kLines) return content + "\n";
  if (framing == Framing::kRedis) {
    return absl::StrCat("$", content.size(), kRedisEnd, content, kRedisEnd);
  }
  if (framing == Framing::kMemcached) {
    return absl::StrCat(kMemcachedValue, content.size(), kLineEnd, content, kLineEnd);
  }
  std::string message;
  for (const int shift : {8, 0}) message.push_back(static_cast<char>(id >> shift));
  for (const int shift : {24, 16, 8, 0}) {
    message.push_back(static_cast<char>(content.size() >> shift));
  }
  return message + content;
}

std::optional<Unwrapper::Message> Unwrapper::Next() {
  switch (framing_) {
    case Framing::kLines:
      return NextLine();
    case Framing::kFramesWithId:
      return NextFrame();
    case Framing::kRedis:
      return NextRedis();
    case Framing::kMemcached:
      return NextMemcached();
  }
  return std::nullopt;
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

std::optional<Unwrapper::Message> Unwrapper::NextRedis() {
  const size_t begin = absl::StartsWith(bytes_, kRedisCommand) ? sizeof kRedisCommand - 1 : 0;
  const size_t end = bytes_.find(kRedisEnd, begin);
  if (end == std::string::npos) return std::nullopt;
  const std::string head = bytes_.substr(begin, end - begin);
  const size_t content = end + sizeof kRedisEnd - 1;
  size_t size = 0;
  if (absl::StartsWith(head, "-")) {
    bytes_.erase(0, content);
    return Message{.content = head, .local_reply = true};
  }
  // Other bytes stay buffered; they do not begin a reply.
  if (!absl::StartsWith(head, "$") || !absl::SimpleAtoi(head.substr(1), &size)) return std::nullopt;
  if (bytes_.size() < content + size + sizeof kRedisEnd - 1) return std::nullopt;
  Message message{.content = bytes_.substr(content, size)};
  bytes_.erase(0, content + size + sizeof kRedisEnd - 1);
  return message;
}

std::optional<Unwrapper::Message> Unwrapper::NextMemcached() {
  constexpr size_t kEndBytes = sizeof kLineEnd - 1;
  const size_t end = bytes_.find(kLineEnd);
  if (end == std::string::npos) return std::nullopt;
  const std::string line = bytes_.substr(0, end);
  const size_t content = end + kEndBytes;
  const bool error = absl::StartsWith(line, "SERVER_ERROR");
  if (error || line == kMemcachedQuietBlanked) {
    bytes_.erase(0, content);
    return Message{.content = error ? line : "quiet", .local_reply = error};
  }
  const bool asks = absl::StartsWith(line, kMemcachedCommand);
  size_t size = 0;
  // Other bytes stay buffered; they do not begin a message.
  if (!asks && !absl::StartsWith(line, kMemcachedValue)) return std::nullopt;
  const size_t prefix = asks ? sizeof kMemcachedCommand - 1 : sizeof kMemcachedValue - 1;
  if (!absl::SimpleAtoi(line.substr(prefix), &size)) return std::nullopt;
  if (bytes_.size() < content + size + kEndBytes) return std::nullopt;
  Message message{.content = bytes_.substr(content, size)};
  bytes_.erase(0, content + size + kEndBytes);
  return message;
}

}  // namespace trunkline::test
