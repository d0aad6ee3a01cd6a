// Options of a service in `message` mode: how its requests share upstream connections. Plain
// values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "dataplane/codec/codec.h"

namespace trunkline {

// Options of one shared connection.
struct SharedConnectionOptions {
  std::shared_ptr<const Codec> codec;
  size_t max_in_flight = 256;
  bool idempotent = false;
  bool greeting = false;  // the server sends one message before it gets a request
  uint8_t variant = 0;    // of the protocol that the connection speaks; not with `greeting`
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration reply_timeout = absl::Seconds(30);
  absl::Duration idle_timeout = absl::Seconds(30);
};

// Options of one service.
struct MessageService {
  SharedConnectionOptions connection;
  size_t max_shared = 4;
  // Limit of connections to one endpoint, of all kinds and workers. 0: no limit.
  uint32_t max_connections = 0;
};

}  // namespace trunkline
