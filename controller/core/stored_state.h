// What outlives a restart of the controller, as plain values.
//
// The pure stages fill it and start from it; state_store.h keeps it in a file. It holds everything
// that reports do not bring back by themselves: learned capacities, the operator's drains and pins,
// and the weights last published, so that a restarted controller serves what proxies already hold.
// Ages are not kept: a monotonic time means nothing in the next process.
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
  // What the address is for.
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
  // As last published.
  double weight = 0;
};

struct StoredAdmin {
  EndpointKey key;
  bool draining = false;
  std::optional<double> pin;
};

// Learned of an endpoint that left.
struct StoredCapacity {
  EndpointKey key;
  double capacity = 1;
};

struct StoredState {
  uint64_t epoch = 0;
  uint64_t version = 0;
  // Written by an orderly stop: `version` is the last that any proxy can have seen.
  bool orderly = false;
  std::vector<StoredEndpoint> endpoints;
  std::vector<StoredAdmin> admin;
  std::vector<StoredCapacity> departed;
};

}  // namespace trunkline
