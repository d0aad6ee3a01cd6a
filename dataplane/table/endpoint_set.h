// What a proxy was told, as immutable values that workers share: services, where each listens, its
// endpoints and weights.
//
// Made whole from one snapshot by the subscriber's thread, swapped whole into every worker.
// Immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/message_service.h"

namespace trunkline {

struct Endpoint {
  std::string id;
  // Of its agent's trunk port, or in other modes of the server, as the controller wrote it.
  std::string address;
  bool is_name = false;                   // `address` is looked up again from time to time
  std::optional<SocketAddress> resolved;  // none: its name does not resolve at present
  double weight = 0;                      // 0: no new flows
  std::shared_ptr<EndpointStats> stats;
};

struct FlowLimits {
  absl::Duration connect_timeout = absl::Seconds(3);
  absl::Duration idle_timeout = absl::Hours(1);
  absl::Duration first_byte_timeout = absl::Minutes(5);
  uint32_t max_clients = 10'000;
  uint32_t max_clients_per_source = 0;  // no limit
};

struct EndpointSet {
  std::string service;
  std::string authority;  // of CONNECT requests: the service's name and port
  Address listen;
  FlowLimits limits;
  ForwardingMode mode = ForwardingMode::kTunnel;
  bool accept_proxy_protocol = false;
  ProxyVersion send_proxy_protocol = ProxyVersion::kNone;  // not in mode kMessage
  std::shared_ptr<const MessageService> message;           // in mode kMessage
  // Two sets with the same word carry in the same way, to the last option.
  std::string forwarding_key;
  std::vector<Endpoint> endpoints;  // sorted by id
  // Of `endpoints`, prepared for picks. Null: whoever picks makes it.
  std::shared_ptr<const AliasTable> weights;
  // Sets with the same number, except 0, have the same endpoints but for their weights.
  uint64_t layout = 0;
  std::shared_ptr<ListenerStats> stats;
};

// Sockets that one client may take until it has asked: its own, and its server's where it may need
// one to itself.
inline size_t SocketsPerClient(const EndpointSet& set) {
  const bool shares =
      set.mode == ForwardingMode::kTunnel ||
      (set.mode == ForwardingMode::kMessage && set.message->connection.codec->always_shares());
  return shares ? 1 : 2;
}

std::shared_ptr<const AliasTable> MakeWeights(const std::vector<Endpoint>& endpoints);

inline bool SameLayout(const EndpointSet& a, const EndpointSet& b) {
  return a.layout != 0 && a.layout == b.layout;
}
bool SameTarget(const std::optional<SocketAddress>& a, const std::optional<SocketAddress>& b);

// One worker's part of the connections that the server of each endpoint bears. No parts are lent,
// so no worker waits for another one; where there are fewer connections than workers, some have
// none and hand their clients over. Which ones depends on the service, so that services are spread.
struct ConnectionShare {
  bool limited = false;
  uint32_t connections = 0;  // of this worker, if limited
  // A worker that has some.
  size_t taker = 0;
};
ConnectionShare ShareOf(const EndpointSet& set, size_t worker, size_t workers);

struct RoutingTable {
  uint64_t epoch = 0;
  uint64_t version = 0;
  std::vector<std::shared_ptr<const EndpointSet>> services;  // sorted by name
};

}  // namespace trunkline
