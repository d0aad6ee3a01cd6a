// The state that survives a restart of the controller, as plain values.
//
// The pure stages export it and start from it; controller/loop/state_store.h keeps it in a file. It
// contains everything that load reports do not restore: learned capacities, drains and pins, and
// the last published weights, so that a restarted controller serves the weights that proxies hold.
// The configuration wins over it: an address or a weight that came from the configuration is stored
// only to tell whether it was edited meanwhile. The state contains no points in time, because a
// monotonic clock means nothing to the next process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"

namespace trunkline {

// The entry of the configuration for an endpoint; an address is empty and a weight 0 if it has
// none.
struct StoredConfiguration {
  std::string address;
  double weight = 0;
};

struct StoredEndpoint {
  EndpointKey key;
  std::string address;
  // The address came from the configuration, not from an agent.
  bool address_configured = false;
  // The configuration at that time; unset if it did not name the endpoint.
  std::optional<StoredConfiguration> configured;
  // The forwarding mode that the address belongs to.
  ForwardingMode mode = ForwardingMode::kTunnel;
  // The addresses that the agent announced, for tunnel and for the other modes; empty if it
  // announced none. After a change of the mode, the other one is in use before the agent is back.
  std::string trunk_address;
  std::string server_address;
  std::string agent_id;
  std::string agent_boot_id;
  std::string server_boot_id;
  double cores = 0;
  double operator_capacity = 0;
  // P and theta of docs/weights.md.
  double capacity = 1;
  double theta = 0;
  // The capacity was measured under load; else it is the figure that it began with.
  bool learned = false;
  double slow_start_seconds = 0;
  // The last published weight.
  double weight = 0;
};

struct StoredAdmin {
  EndpointKey key;
  bool draining = false;
  std::optional<double> pin;
};

// The learned capacity of an endpoint that left.
struct StoredCapacity {
  EndpointKey key;
  double capacity = 1;
};

struct StoredState {
  // Empty if unknown.
  std::string cluster_id;
  uint64_t epoch = 0;
  uint64_t version = 0;
  // An orderly stop wrote the state, so no proxy can hold a version above `version`.
  bool orderly = false;
  std::vector<StoredEndpoint> endpoints;
  std::vector<StoredAdmin> admin;
  std::vector<StoredCapacity> departed;
};

}  // namespace trunkline
