// What a proxy was told, as immutable values that workers share: services, where each listens, its endpoints and weights.
//
// Made whole from one snapshot by the subscriber's thread, swapped whole into every worker. Immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/address.h"
#include "common/socket.h"
#include "dataplane/traffic_stats.h"

namespace trunkline {

struct Endpoint {
  std::string id;
  std::string address;                    // of its agent's trunk port, as the controller wrote it
  std::optional<SocketAddress> resolved;  // none: its name does not resolve at present
  double weight = 0;                      // 0: no new flows
  std::shared_ptr<EndpointStats> stats;
};

struct FlowLimits {
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration idle_timeout = absl::Hours(1);
  absl::Duration first_byte_timeout = absl::Minutes(5);
  uint32_t max_clients = 10'000;
};

struct EndpointSet {
  std::string service;
  std::string authority;  // of CONNECT requests: the service's name and port
  Address listen;
  FlowLimits limits;
  std::vector<Endpoint> endpoints;  // sorted by id
  std::shared_ptr<ListenerStats> stats;
};

struct RoutingTable {
  uint64_t epoch = 0;
  uint64_t version = 0;
  std::vector<std::shared_ptr<const EndpointSet>> services;  // sorted by name
};

}  // namespace trunkline
