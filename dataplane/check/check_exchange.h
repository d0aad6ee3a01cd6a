// The bytes of one health check: what the proxy sends, and whether what comes back passes.
//
// Decides as soon as the bytes so far allow it: an HTTP check needs the status line only. Buffers
// at most kMaxReplyBytes; a server that sends more without an answer fails.
//
// Pure. Externally synchronized.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

#include "dataplane/table/health_check.h"

namespace trunkline {

class CheckExchange {
 public:
  enum class State { kMore, kPassed, kFailed };
  static constexpr size_t kMaxReplyBytes = 16 * 1024;

  // `header` is the PROXY protocol header that the server expects on each connection, or empty.
  // `address` is the endpoint's, as configured.
  CheckExchange(const HealthCheck& check, const std::string& header, std::string_view address);

  // The bytes for the server, the header included.
  const std::string& to_send() const { return to_send_; }
  // The server's socket has taken all of them.
  State OnSent() const;
  // More bytes have arrived. A connection that ends before kPassed has failed the check.
  State OnBytes(std::string_view bytes);

  // Says what was sent, what came back and what was expected, with the first bytes of each,
  // escaped. Leaves out what may be a secret: the bytes that a TCP check sends, the query of an
  // HTTP request, and a credential with the server's reply to it.
  std::string Describe() const;

 private:
  State Classify(size_t fresh) const;
  State FindBytes(const TcpCheck& check, size_t fresh) const;
  State FindPong(const RedisCheck& check) const;
  State FindStatus(const HttpCheck& check) const;
  std::string DescribeSent() const;

  std::variant<TcpCheck, HttpCheck, RedisCheck> kind_;
  std::string shown_request_;  // of an HTTP check
  bool has_header_ = false;
  std::string to_send_;
  std::string received_;
};

}  // namespace trunkline
