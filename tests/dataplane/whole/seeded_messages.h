// Requests of which no two are alike, the only right answer to each, and the protocols of message
// mode that carry them: a reply that is another request's, or has a foreign byte, shows at once.
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
  kRedis,         // as lines, and a client that is sent away is told so
};

// For requests of any size that is made here.
std::shared_ptr<const Codec> CodecOf(Framing framing);

// A content's shortest one that says whose it is; the others are random bytes.
inline constexpr size_t kNamedBytes = 32;
// The content of request `number` of client `client`: 1 to `most_bytes` bytes, mostly few.
std::string RequestOf(uint64_t client, uint32_t number, size_t most_bytes);
// Says what was asked; mostly short, at times more than one read of the proxy takes.
std::string AnswerTo(const std::string& request);

// As messages; `id` where the protocol has one.
std::string WrapRequest(Framing framing, uint16_t id, const std::string& content);
std::string WrapReply(Framing framing, uint16_t id, const std::string& content);

// Finds messages in bytes.
class Unwrapper {
 public:
  struct Message {
    uint16_t id = 0;
    std::string content;
    bool apology = false;  // words of the proxy
  };
  explicit Unwrapper(Framing framing) : framing_(framing) {}
  void Append(const char* bytes, size_t size) { bytes_.append(bytes, size); }
  // The next whole one.
  std::optional<Message> Next();
  // Of one that is not whole.
  const std::string& rest() const { return bytes_; }

 private:
  std::optional<Message> NextLine();
  std::optional<Message> NextFrame();
  std::optional<Message> NextRedis();

  const Framing framing_;
  std::string bytes_;
  size_t looked_at_ = 0;
};

}  // namespace trunkline::test
