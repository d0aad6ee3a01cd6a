// The agent's configuration as the rest of it wants it: defaults filled in, addresses parsed,
// contradictions refused. Pure; the result is a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/sample/cpu_meter.h"
#include "common/net/address.h"
#include "common/proxy_protocol/proxy_version.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

struct LocalServiceSettings {
  std::string service;
  std::string endpoint_id;
  Address target;
  // The server's TCP port; 0: none.
  uint16_t port = 0;
  double capacity_hint = 0;
  // host:port at which proxies reach the server itself; empty: they cannot.
  std::string server_address;
  // Of every connection to the server; kNone: as proxies ask.
  ProxyVersion send_proxy_protocol = ProxyVersion::kNone;
  uint32_t max_connections = 0;
  // Without find_server and ticks_per_second, which are the machine's.
  CpuMeterOptions cpu;
};

struct AgentSettings {
  std::string agent_id;
  std::string controller;
  Address trunk_listen;
  // As configured; empty: trunk_listen with the port that it got.
  std::string trunk_advertise;
  std::string admin_listen = "127.0.0.1:7074";
  std::vector<LocalServiceSettings> services;
  uint32_t workers = 1;
  uint32_t max_streams_per_trunk = 1000;
  std::string nic;
  uint64_t nic_bits_per_second = 0;
  absl::Duration drain_timeout = absl::Seconds(10);
  absl::Duration connect_timeout = absl::Seconds(3);
};

// The configuration has passed its field rules. INVALID_ARGUMENT has a line for each thing that
// does not fit together.
absl::StatusOr<AgentSettings> ReadAgentConfig(const v1::AgentConfig& config);

}  // namespace trunkline
