// What the operator configured of one service, as plain values for the pure stages (wire.h reads
// them from the configuration message). Immutable after the start of the controller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {

enum class PolicyKind { kAdaptive, kStatic, kRoundRobin };

// Unset: the proxy's default.
struct FlowLimitSpec {
  std::optional<absl::Duration> connect_timeout;
  std::optional<absl::Duration> idle_timeout;
  std::optional<absl::Duration> first_byte_timeout;
  uint32_t max_clients = 0;
  uint32_t max_clients_per_source = 0;  // 0: no limit
  friend bool operator==(const FlowLimitSpec&, const FlowLimitSpec&) = default;
};

// Whom proxies take for the client, and whether its server hears of it.
struct ProxyProtocolSpec {
  bool accept = false;
  ProxyVersion send = ProxyVersion::kNone;
  friend bool operator==(const ProxyProtocolSpec&, const ProxyProtocolSpec&) = default;
};

struct EndpointHintSpec {
  std::string endpoint_id;
  // The operator's relative capacity; 0: none given.
  double weight = 0;
  // Empty: known only once its agent announces it.
  std::string address;
};

struct ServiceSpec {
  std::string name;
  std::string listen;
  ForwardingMode mode = ForwardingMode::kTunnel;
  PolicyKind policy = PolicyKind::kAdaptive;
  FlowLimitSpec limits;
  // The message of that name, serialized: the controller passes it on and reads nothing in it.
  // Empty but in mode kMessage.
  std::string message_options;
  ProxyProtocolSpec proxy_protocol;
  std::vector<EndpointHintSpec> endpoints;
};

}  // namespace trunkline
