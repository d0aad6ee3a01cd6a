// Unique requests, the only correct reply to each, and the protocols of message mode that carry
// them. They detect a reply to another request and a foreign byte at once.
//
// Pure; confined to its test's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/random.h"
#include "dataplane/codec/codec.h"

namespace trunkline::test {

enum class Framing {
  kLines,         // replies in the order of requests
  kFramesWithId,  // replies by their id
  kRedis,         // replies in the order of requests, with local replies
  kMemcached,     // as above; before each request is one whose reply is discarded
};

// Accepts requests of every size that is made here.
std::shared_ptr<const Codec> CodecOf(Framing framing);

// The shortest content that identifies its request; further bytes are random.
inline constexpr size_t kNamedBytes = 32;
// The content of request `number` of client `client`: 1 to `most_bytes` bytes, mostly few.
std::string RequestOf(uint64_t client, uint32_t number, size_t most_bytes);
// Repeats the request's identity; mostly short, sometimes more than the proxy takes in one read.
std::string AnswerTo(const std::string& request);

// The content as a message; `id` is used if the protocol has one.
std::string WrapRequest(Framing framing, uint16_t id, const std::string& content);
std::string WrapReply(Framing framing, uint16_t id, const std::string& content);

// Finds messages in bytes.
class Unwrapper {
 public:
  struct Message {
    uint16_t id = 0;
    std::string content;
    bool local_reply = false;  // made by the proxy
  };
  explicit Unwrapper(Framing framing) : framing_(framing) {}
  void Append(const char* bytes, size_t size) { bytes_.append(bytes, size); }
  // The next complete message.
  std::optional<Message> Next();
  // The bytes of an incomplete message.
  const std::string& rest() const { return bytes_; }

 private:
  std::optional<Message> NextLine();
  std::optional<Message> NextFrame();
  std::optional<Message> NextRedis();
  std::optional<Message> NextMemcached();

  const Framing framing_;
  std::string bytes_;
  size_t looked_at_ = 0;
};

}  // namespace trunkline::test
