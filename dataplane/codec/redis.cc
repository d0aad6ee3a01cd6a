#include "dataplane/codec/redis.h"

#include "dataplane/codec/redis_reply.h"
#include "dataplane/codec/redis_request.h"

namespace trunkline {
namespace {

class RedisCodec final : public Codec {
 public:
  explicit RedisCodec(RedisOptions options) : options_(options) {}

  std::string_view name() const override { return "redis"; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<RedisRequestParser>(options_.max_request_bytes);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<RedisReplyParser>();
  }
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
  const RedisOptions options_;
};

}  // namespace

std::unique_ptr<Codec> NewRedisCodec(RedisOptions options) {
  return std::make_unique<RedisCodec>(options);
}

}  // namespace trunkline
