// The opening of one upstream connection: bytes that the proxy sends before any request, and the
// one reply to them, which no client gets (see Codec::Opening).
//
// A reply cannot precede the opening, so the owner looks for bytes of the server before it sends
// them, and gives Read only what came later.
//
// Confined to its connection. Never log bytes(): they may contain a secret.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/codec/codec.h"

namespace trunkline {

// Bytes of a server that a log line shows at most.
inline constexpr size_t kMostQuotedBytes = 64;
// Returns the beginning of what a server sent, escaped, as the end of a log line's clause. Only for
// bytes that came before the proxy sent any: later ones may repeat a secret or be a client's.
std::string QuoteForLog(std::span<const uint8_t> bytes);

class ConnectionOpening {
 public:
  enum class State : uint8_t {
    kMore,      // the reply goes on
    kAccepted,  // the last used byte ends it, and the connection may carry requests
    kRefused,   // the server answered with an error
    kLacking,   // with one that says that it does not speak the variant
    kBroken,    // not a reply of the protocol, or one that answers nothing
  };
  struct Step {
    size_t used = 0;  // bytes from the front that belong to the reply
    State state = State::kMore;
  };

  // Returns null if connections of this variant need no opening.
  static std::unique_ptr<ConnectionOpening> For(const std::shared_ptr<const Codec>& codec,
                                                uint8_t variant);

  uint8_t variant() const { return variant_; }
  std::string_view bytes() const { return codec_->Opening(variant_); }
  // Begins anew, on another connection.
  void Restart();
  // `bytes` begin behind those that earlier calls used. Must not be called after kBroken.
  Step Read(std::span<const uint8_t> bytes);
  // Says for the log why Read returned another state than kMore and kAccepted.
  const std::string& fault() const { return fault_; }

 private:
  ConnectionOpening(std::shared_ptr<const Codec> codec, uint8_t variant);

  const std::shared_ptr<const Codec> codec_;
  const uint8_t variant_;
  std::unique_ptr<ReplyParser> parser_;
  std::string reply_;  // its beginning
  std::string fault_;
};

}  // namespace trunkline
