// The load of one service at one moment: the values of a load report. Plain values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace trunkline {

struct LoadSample {
  std::string service;
  std::string endpoint_id;
  // Relative capacity as the operator states it; 0 if not stated.
  double capacity_hint = 0;
  // host:port at which proxies reach the server without the agent; empty if they cannot.
  std::string server_address;
  double cores = 0;
  // Changes with every restart of the server process; empty if unknown.
  std::string server_boot_id;

  // False while CPU time cannot be read or was read once only. The CPU utilization is then unknown
  // and not reported; 0 would look like an idle server.
  bool cpu_known = true;
  // Why a source cannot be read; empty if it can.
  std::string cpu_error;
  std::string memory_error;
  std::string connections_error;
  std::string network_error;

  // Empty optional values are unknown and not reported: their source cannot be read, or does not
  // exist, such as a limit or a port. 0 would look idle.

  // Shares of a limit; above 1 if the limit is exceeded.
  double cpu_utilization = 0;
  std::string cpu_source;
  // Share of the window in which a CPU quota stopped the server's control group. Unknown without a
  // quota.
  std::optional<double> cpu_throttled;
  std::optional<double> memory_utilization;
  std::optional<double> connection_utilization;
  std::optional<double> nic_utilization;
  // Shares of the last 10 s in which some task waited for the resource.
  std::optional<double> cpu_pressure;
  std::optional<double> memory_pressure;
  std::optional<double> io_pressure;

  std::optional<uint32_t> connections;
  uint32_t active_streams = 0;
  double bytes_per_second = 0;
  std::optional<double> nic_bytes_per_second;
  double successes_per_second = 0;
  double errors_per_second = 0;
  std::optional<double> accept_overflows_per_second;
  bool reachable = true;

  // The utilization that triggers urgent reports; meaningless unless cpu_known. Memory is not part
  // of it: the controller treats it as a barrier.
  double Utilization() const {
    return std::max(
        {cpu_utilization, connection_utilization.value_or(0), nic_utilization.value_or(0)});
  }
};

}  // namespace trunkline
