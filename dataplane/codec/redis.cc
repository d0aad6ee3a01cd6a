#include "dataplane/codec/redis.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/codec/redis_reply.h"
#include "dataplane/codec/redis_request.h"

namespace trunkline {
namespace {

constexpr std::string_view kDefaultUser = "default";
// Errors of a server that repeat no argument, so that they may be logged in full.
constexpr std::string_view kKnownErrors[] = {"ERR max number of clients reached"};

std::string Command(std::initializer_list<std::string_view> words) {
  std::string command = absl::StrCat("*", words.size(), "\r\n");
  for (const std::string_view word : words) {
    absl::StrAppend(&command, "$", word.size(), "\r\n", std::string(word), "\r\n");
  }
  return command;
}

std::string Resp2Opening(const std::optional<RedisCredential>& credential) {
  if (!credential) return {};
  // Redis before version 6 knows no users.
  if (credential->user.empty()) return Command({"AUTH", credential->password});
  return Command({"AUTH", credential->user, credential->password});
}

std::string Resp3Opening(const std::optional<RedisCredential>& credential) {
  if (!credential) return Command({"HELLO", "3"});
  const std::string_view user = credential->user.empty() ? kDefaultUser : credential->user;
  return Command({"HELLO", "3", "AUTH", user, credential->password});
}

// Servers and proxies differ in the case of their errors' words.
bool IsLike(std::string_view text, const char* beginning) {
  return absl::StartsWithIgnoreCase(absl::string_view(text.data(), text.size()), beginning);
}
bool IsError(std::string_view reply) { return reply.starts_with('-') || reply.starts_with('!'); }

// Returns the first line of an error; empty for other replies.
std::string_view ErrorText(std::string_view reply) {
  if (!IsError(reply)) return {};
  std::string_view text = reply.substr(1);
  if (reply[0] == '!') text.remove_prefix(std::min(text.size(), text.find('\n') + 1));
  return text.substr(0, text.find('\r'));
}

class RedisCodec final : public Codec {
 public:
  explicit RedisCodec(RedisOptions options)
      : max_request_bytes_(options.max_request_bytes),
        resp2_opening_(Resp2Opening(options.credential)),
        resp3_opening_(Resp3Opening(options.credential)) {
    if (!options.credential) return;
    fingerprint_ = absl::HashOf(options.credential->user, options.credential->password);
    credential_ = std::make_shared<const RedisCredential>(*std::move(options.credential));
  }

  std::string_view name() const override { return "redis"; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<RedisRequestParser>(max_request_bytes_, credential_);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<RedisReplyParser>();
  }
  std::string_view Opening(uint8_t variant) const override {
    return variant == kResp3 ? resp3_opening_ : resp2_opening_;
  }
  std::string OpeningRefusal(std::string_view reply) const override {
    const std::string_view text = ErrorText(reply);
    if (text.empty()) return IsError(reply) ? "an error" : std::string();
    if (credential_ == nullptr) return absl::CHexEscape(std::string(text));
    for (const std::string_view known : kKnownErrors) {
      if (text.starts_with(known)) return std::string(known);
    }
    // Redis before version 6 repeats the arguments of a command that it does not know.
    const auto end = std::ranges::find_if(text, [](char c) { return c < 'A' || c > 'Z'; });
    const std::string code(text.begin(), end);
    return absl::StrCat(code.empty() ? "an error" : code,
                        " (the rest of the error may repeat the credential)");
  }
  // NOAUTH: HELLO needs a credential, which the proxy does not have.
  bool LacksVariant(std::string_view reply) const override {
    const std::string_view text = ErrorText(reply);
    return IsLike(text, "ERR unknown command") || IsLike(text, "ERR unsupported command") ||
           text.starts_with("NOPROTO") || (credential_ == nullptr && text.starts_with("NOAUTH"));
  }
  uint64_t fingerprint() const override { return fingerprint_; }
  std::string_view LocalReply(Refusal why) const override {
    switch (why) {
      case Refusal::kBroken:
        return "-ERR Protocol error\r\n";
      case Refusal::kUnavailable:
        return "-ERR no server is available\r\n";
      case Refusal::kLost:
        return "-ERR the server's connection broke before its reply; the command may have run\r\n";
    }
    return {};
  }

 private:
  const size_t max_request_bytes_;
  const std::string resp2_opening_;
  const std::string resp3_opening_;
  std::shared_ptr<const RedisCredential> credential_;  // null if the service has none
  uint64_t fingerprint_ = 0;
};

}  // namespace

std::unique_ptr<Codec> NewRedisCodec(RedisOptions options) {
  return std::make_unique<RedisCodec>(std::move(options));
}

}  // namespace trunkline
