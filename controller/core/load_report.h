// What an agent says, as plain values: the controller's pure stages read these and never a protobuf
// message.
//
// wire.h turns the messages into these and is the one place that validates them, so every number
// here is finite and not negative. Immutable values; no owner, no errors. Rates are per second,
// shares are 0..1 (above 1: overrun).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace trunkline {

// Names one endpoint of one service.
struct EndpointKey {
  std::string service;
  std::string endpoint_id;

  std::string ToString() const { return service + "/" + endpoint_id; }
  friend auto operator<=>(const EndpointKey&, const EndpointKey&) = default;
};

// Full state of one endpoint at one moment.
struct ReportedLoad {
  EndpointKey key;
  double cpu_utilization = 0;
  std::string cpu_source;
  double memory_utilization = 0;
  uint32_t connections = 0;
  double connection_utilization = 0;
  double bytes_per_second = 0;
  double nic_utilization = 0;
  uint32_t active_streams = 0;
  double successes_per_second = 0;
  double errors_per_second = 0;
  // The largest of the application's own metrics and its name; empty: it gives none.
  double named_utilization = 0;
  std::string named_metric;
  // The local server takes connections.
  bool reachable = true;
  // Empty: unknown.
  std::string server_boot_id;
  // 0: as before.
  double cores = 0;
};

struct AnnouncedEndpoint {
  EndpointKey key;
  // Relative capacity in the operator's words; 0: none given.
  double capacity_hint = 0;
  double cores = 0;
  std::string server_boot_id;
  // host:port at which proxies reach the server itself; empty: they cannot.
  std::string server_address;
};

struct AnnouncedAgent {
  std::string agent_id;
  // New at each start of the agent.
  std::string boot_id;
  std::string version;
  // host:port at which trunks end.
  std::string trunk_address;
  std::vector<AnnouncedEndpoint> endpoints;
};

}  // namespace trunkline
