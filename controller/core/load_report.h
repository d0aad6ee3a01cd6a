// Load reports and announcements as plain values, so that the controller's pure stages do not
// depend on protobuf.
//
// controller/wire/report.h validates the messages and converts them, so every number here is finite
// and not negative. Rates are per second. Utilizations are 0 to 1, and above 1 while a limit is
// exceeded. Empty optional values are unknown, or have no limit.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trunkline {

// Identifies one endpoint of one service.
struct EndpointKey {
  std::string service;
  std::string endpoint_id;

  std::string ToString() const { return service + "/" + endpoint_id; }
  friend auto operator<=>(const EndpointKey&, const EndpointKey&) = default;
  template <typename H>
  friend H AbslHashValue(H hash, const EndpointKey& key) {
    return H::combine(std::move(hash), key.service, key.endpoint_id);
  }
};

// The full state of one endpoint at one moment.
struct ReportedLoad {
  EndpointKey key;
  double cpu_utilization = 0;
  // False if the agent cannot read the CPU time: the report then has no signal for the weight.
  bool cpu_known = true;
  std::string cpu_source;
  // Share of time in which a CPU quota stopped the server. Shown, and no part of the weight.
  std::optional<double> cpu_throttled;
  std::optional<double> memory_utilization;
  std::optional<uint32_t> connections;
  std::optional<double> connection_utilization;
  double bytes_per_second = 0;
  std::optional<double> nic_utilization;
  uint32_t active_streams = 0;
  double successes_per_second = 0;
  double errors_per_second = 0;
  // The largest of the application's own metrics, and its name; the name is empty if there is none.
  double named_utilization = 0;
  std::string named_metric;
  // The local server accepts connections.
  bool reachable = true;
  // Empty if unknown.
  std::string server_boot_id;
  // 0 if the report does not repeat it; the previous value applies.
  double cores = 0;
};

struct AnnouncedEndpoint {
  EndpointKey key;
  // Relative capacity that the operator assigns; 0 if none.
  double capacity_hint = 0;
  double cores = 0;
  std::string server_boot_id;
  // host:port at which proxies reach the server itself; empty if they cannot.
  std::string server_address;
};

struct AnnouncedAgent {
  std::string agent_id;
  // Changes at each start of the agent.
  std::string boot_id;
  std::string version;
  // host:port of the agent's trunk port.
  std::string trunk_address;
  std::vector<AnnouncedEndpoint> endpoints;
};

}  // namespace trunkline
