// The active health check of a service's endpoints, as the operator configured it. Plain values,
// and the credential that a password file contains.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "dataplane/codec/codec.h"

namespace trunkline {

// Connects, sends `send` and looks for `expect` in what comes back; either may be empty.
struct TcpCheck {
  std::string send;
  std::string expect;
  friend bool operator==(const TcpCheck&, const TcpCheck&) = default;
};

struct HttpCheck {
  // Status codes, both ends included.
  struct Statuses {
    int first = 200;
    int last = 399;
    friend bool operator==(const Statuses&, const Statuses&) = default;
  };
  std::string method = "GET";
  std::string path = "/";
  std::string host;  // empty: the endpoint's address
  std::vector<Statuses> expected = {Statuses()};
  friend bool operator==(const HttpCheck&, const HttpCheck&) = default;
};

struct RedisCheck {
  // The connection begins with the opening of its variant 0, a credential; null if the servers want
  // none.
  std::shared_ptr<const Codec> login;

  // Logins are equal if they have the same credential.
  friend bool operator==(const RedisCheck& a, const RedisCheck& b) {
    if (a.login == nullptr || b.login == nullptr) return a.login == b.login;
    return a.login->fingerprint() == b.login->fingerprint();
  }
};

struct HealthCheck {
  std::variant<TcpCheck, HttpCheck, RedisCheck> kind;
  absl::Duration interval = absl::Seconds(5);  // from start to start
  absl::Duration timeout = absl::Seconds(2);   // at most `interval`
  double jitter = 0.1;                         // a share of `interval`, either way
  uint32_t rise = 2;
  uint32_t fall = 3;
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

}  // namespace trunkline
