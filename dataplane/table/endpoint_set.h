// The routing configuration of a proxy as values that workers share: services, their listen
// addresses, endpoints and weights.
//
// The subscriber's thread builds a whole table from one snapshot and swaps it into every worker.
// Immutable and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/health_check.h"
#include "dataplane/table/maglev_table.h"
#include "dataplane/table/message_service.h"

namespace trunkline {

struct Endpoint {
  std::string id;
  // Address as the controller wrote it: the agent's trunk port in tunnel mode, otherwise the
  // server.
  std::string address;
  bool is_name = false;   // `address` is a host name, resolved again at intervals
  AddressList addresses;  // null while the name has never been resolved
  double weight = 0;      // 0: no new flows
  std::shared_ptr<EndpointStats> stats;
};

struct FlowLimits {
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration idle_timeout = absl::Hours(1);
  absl::Duration first_byte_timeout = absl::Minutes(5);
  uint32_t max_clients = 10'000;
  uint32_t max_clients_per_source = 0;  // 0: no limit
};

struct EndpointSet {
  std::string service;
  std::string authority;  // for CONNECT requests: the service's name and its first port
  std::vector<Address> listen;
  FlowLimits limits;
  ForwardingMode mode = ForwardingMode::kTunnel;
  BalancingPolicy policy = BalancingPolicy::kAdaptive;
  bool accept_proxy_protocol = false;
  ProxyVersion send_proxy_protocol = ProxyVersion::kNone;  // not in mode kMessage
  std::shared_ptr<const MessageService> message;           // in mode kMessage
  std::shared_ptr<const HealthCheck> health_check;         // null: none
  // Sets with equal keys forward in the same way, to the last option.
  std::string forwarding_key;
  std::vector<Endpoint> endpoints;  // sorted by id
  // Table of the weights of `endpoints`, prepared for picks. If null, the router makes it.
  std::shared_ptr<const AliasTable> weights;
  // Table of clients by those weights, under policy kMaglev; else null.
  std::shared_ptr<const MaglevTable> by_client;
  // Sets with the same number, other than 0, have the same endpoints and differ at most in weights.
  uint64_t layout = 0;
  std::shared_ptr<ListenerStats> stats;
};

// Returns the sockets that one client may need before its first request: its own, and an upstream
// connection of its own unless the mode or the codec always shares them.
inline size_t SocketsPerClient(const EndpointSet& set) {
  const bool shares =
      set.mode == ForwardingMode::kTunnel ||
      (set.mode == ForwardingMode::kMessage && set.message->connection.codec->always_shares());
  return shares ? 1 : 2;
}

// Makes the table for EndpointSet::weights.
std::shared_ptr<const AliasTable> MakeWeights(const std::vector<Endpoint>& endpoints);
// Makes the table for EndpointSet::by_client.
std::shared_ptr<const MaglevTable> MakeClientTable(const std::vector<Endpoint>& endpoints);

inline bool SameLayout(const EndpointSet& a, const EndpointSet& b) {
  return a.layout != 0 && a.layout == b.layout;
}

// One worker's share of the connections that each endpoint's server can take. One of them is for
// health checks, if the service has any: then its limit is at least 2. Shares are not lent, so no
// worker waits for another. With fewer connections than workers, some workers have none and
// hand their clients over; which ones depends on the service, so that services are spread.
struct ConnectionShare {
  bool limited = false;
  uint32_t connections = 0;  // of this worker, if limited
  // Index of a worker that has at least one connection.
  size_t taker = 0;
};
ConnectionShare ShareOf(const EndpointSet& set, size_t worker, size_t workers);

struct RoutingTable {
  uint64_t epoch = 0;
  uint64_t version = 0;
  std::vector<std::shared_ptr<const EndpointSet>> services;  // sorted by name
};

}  // namespace trunkline
