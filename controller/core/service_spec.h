// The configuration of one service as plain values for the pure stages; controller/wire/config.h
// reads them from the configuration message. Immutable; a reload of the configuration makes new
// ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/forwarding_mode.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {

// The proxy's default applies to an unset limit, and to max_clients 0.
struct FlowLimitSpec {
  std::optional<absl::Duration> connect_timeout;
  std::optional<absl::Duration> idle_timeout;
  std::optional<absl::Duration> first_byte_timeout;
  uint32_t max_clients = 0;
  uint32_t max_clients_per_source = 0;  // 0 for no limit
  friend bool operator==(const FlowLimitSpec&, const FlowLimitSpec&) = default;
};

// How proxies learn a client's address, and how the servers do.
struct ProxyProtocolSpec {
  bool accept = false;
  ProxyVersion send = ProxyVersion::kNone;
  friend bool operator==(const ProxyProtocolSpec&, const ProxyProtocolSpec&) = default;
};

struct EndpointHintSpec {
  std::string endpoint_id;
  // Relative capacity that the operator assigns; 0 if none.
  double weight = 0;
  // Empty if only its agent knows the address.
  std::string address;
};

struct ServiceSpec {
  std::string name;
  std::vector<std::string> listen;  // addresses, at least one
  ForwardingMode mode = ForwardingMode::kTunnel;
  BalancingPolicy policy = BalancingPolicy::kAdaptive;
  FlowLimitSpec limits;
  // The serialized MessageOptions, which the controller passes on without reading them. Empty in
  // modes other than kMessage.
  std::string message_options;
  ProxyProtocolSpec proxy_protocol;
  // The serialized HealthCheck, passed on likewise; empty if there is none.
  std::string health_check;
  std::vector<EndpointHintSpec> endpoints;
};

}  // namespace trunkline
