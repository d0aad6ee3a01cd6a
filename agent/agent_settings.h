// The agent's configuration in the form that its parts use: defaults filled in, addresses parsed,
// contradictions refused. Pure; the result is a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/sample/local_service.h"
#include "common/net/address.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

struct AgentSettings {
  std::string agent_id;
  std::string controller;
  Address trunk_listen;
  // As configured. If empty, proxies get trunk_listen with the port that the kernel assigned.
  std::string trunk_advertise;
  std::string admin_listen = "127.0.0.1:7074";
  // cpu.find_server, cpu.ticks_per_second and cpu.process_clock depend on the machine and are not
  // set.
  std::vector<LocalService> services;
  uint32_t workers = 1;
  uint32_t max_streams_per_trunk = 1000;
  // Empty selects the interface of the default route.
  std::string nic;
  // 0 selects the speed that the kernel states.
  uint64_t nic_bits_per_second = 0;
  absl::Duration drain_timeout = absl::Seconds(10);
  absl::Duration connect_timeout = absl::Milliseconds(1200);
};

// `config` must have passed its field rules. INVALID_ARGUMENT has one line for each contradiction.
absl::StatusOr<AgentSettings> ReadAgentConfig(const v1::AgentConfig& config);

}  // namespace trunkline
