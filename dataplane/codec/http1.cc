#include "dataplane/codec/http1.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/http1_reply.h"
#include "dataplane/codec/http1_request.h"

namespace trunkline {
namespace {

class Http1Codec final : public Codec {
 public:
  explicit Http1Codec(Http1Options options)
      : max_request_bytes_(options.max_request_bytes),
        idempotent_methods_(std::make_shared<const std::vector<std::string>>(
            std::move(options.idempotent_methods))) {}

  std::string_view name() const override { return "http1"; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<Http1RequestParser>(max_request_bytes_, idempotent_methods_);
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<Http1ReplyParser>();
  }
  bool one_at_a_time() const override { return true; }
  // Local replies have no content, so that they also answer HEAD.
  std::string_view LocalReply(Refusal why) const override {
    switch (why) {
      case Refusal::kBroken:
        return "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
      case Refusal::kUnavailable:
        return "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
      case Refusal::kLost:
        return "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    }
    return {};
  }

 private:
  const size_t max_request_bytes_;
  const Http1Methods idempotent_methods_;
};

}  // namespace

std::unique_ptr<Codec> NewHttp1Codec(Http1Options options) {
  return std::make_unique<Http1Codec>(std::move(options));
}

}  // namespace trunkline
