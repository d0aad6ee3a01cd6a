// What the sampler knows of one service at one moment: the values that go into a load report. Plain
// values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace trunkline {

struct LoadSample {
  std::string service;
  std::string endpoint_id;
  // What an operator said; 0: nothing.
  double capacity_hint = 0;
  // host:port at which proxies reach the server itself; empty: they cannot.
  std::string server_address;
  double cores = 0;
  // Changes when the server process does; empty: unknown.
  std::string server_boot_id;

  // Shares of 1; above it when a limit is overrun.
  double cpu_utilization = 0;
  std::string cpu_source;
  double memory_utilization = 0;
  double connection_utilization = 0;
  double nic_utilization = 0;
  // Shares of the last ten seconds.
  double cpu_pressure = 0;
  double memory_pressure = 0;
  double io_pressure = 0;

  uint32_t connections = 0;
  uint32_t active_streams = 0;
  double bytes_per_second = 0;
  double nic_bytes_per_second = 0;
  double successes_per_second = 0;
  double errors_per_second = 0;
  double accept_overflows_per_second = 0;
  bool reachable = true;

  // What the thresholds of urgent reports look at. Memory is a barrier of the controller, not a
  // term.
  double Utilization() const {
    return std::max({cpu_utilization, connection_utilization, nic_utilization});
  }
};

}  // namespace trunkline
