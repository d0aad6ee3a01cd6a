// How requests of a service in `message` mode share connections to its servers. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "dataplane/codec/codec.h"

namespace trunkline {

// Of one connection.
struct SharedConnectionOptions {
  std::shared_ptr<const Codec> codec;
  size_t max_in_flight = 256;
  bool idempotent = false;
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration reply_timeout = absl::Seconds(30);
  absl::Duration idle_timeout = absl::Seconds(30);
};

// What `message` mode needs to know of a service.
struct MessageService {
  SharedConnectionOptions connection;
  size_t max_shared = 4;
  // To one endpoint, of all kinds and workers; 0: any number.
  uint32_t max_connections = 0;
};

}  // namespace trunkline
