#include "dataplane/codec/memcached.h"

#include <memory>
#include <string_view>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/memcached_reply.h"
#include "dataplane/codec/memcached_request.h"

namespace trunkline {
namespace {

class MemcachedCodec final : public Codec {
 public:
  explicit MemcachedCodec(MemcachedOptions options) : options_(options) {}

  std::string_view name() const override { return "memcached"; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<MemcachedRequestParser>(options_.max_request_bytes);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<MemcachedReplyParser>();
  }
  std::string_view LocalReply(Refusal why) const override {
    switch (why) {
      case Refusal::kBroken:
        return "CLIENT_ERROR bad data chunk\r\n";
      case Refusal::kUnavailable:
        return "SERVER_ERROR no server is available\r\n";
      case Refusal::kLost:
        return "SERVER_ERROR the server's connection broke before its reply; the command may have "
               "run\r\n";
    }
    return {};
  }

 private:
  const MemcachedOptions options_;
};

}  // namespace

std::unique_ptr<Codec> NewMemcachedCodec(MemcachedOptions options) {
  return std::make_unique<MemcachedCodec>(options);
}

}  // namespace trunkline
