// The state that survives a restart of the controller, as plain values.
//
// The pure stages export it and start from it; controller/loop/state_store.h keeps it in a file. It
// contains everything that load reports do not restore: learned capacities, drains and pins, and
// the last published weights, so that a restarted controller serves the weights that proxies hold.
// It contains no points in time, because a monotonic clock means nothing to the next process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"

namespace trunkline {

struct StoredEndpoint {
  EndpointKey key;
  std::string address;
  // The forwarding mode that the address belongs to.
  ForwardingMode mode = ForwardingMode::kTunnel;
  std::string agent_id;
  std::string agent_boot_id;
  std::string server_boot_id;
  double cores = 0;
  double operator_capacity = 0;
  // P and theta of docs/weights.md.
  double capacity = 1;
  double theta = 0;
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
  uint64_t epoch = 0;
  uint64_t version = 0;
  // An orderly stop wrote the state, so no proxy can hold a version above `version`.
  bool orderly = false;
  std::vector<StoredEndpoint> endpoints;
  std::vector<StoredAdmin> admin;
  std::vector<StoredCapacity> departed;
};

}  // namespace trunkline
