// Helpers for tests of the pure stages: a virtual clock, and agents that announce and report.
#pragma once

#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"

namespace trunkline {

inline MonotonicTime At(double seconds) {
  return MonotonicTime::FromNanos(static_cast<int64_t>((1000 + seconds) * 1e9));
}

inline ServiceSpec Service(const std::string& name, std::vector<EndpointHintSpec> hints = {}) {
  ServiceSpec spec;
  spec.name = name;
  spec.listen = {"127.0.0.1:9000"};
  spec.endpoints = std::move(hints);
  return spec;
}

// The trunk address of an agent: another one for each id.
inline std::string TrunkAddress(const std::string& id) {
  if (id == "a") return "10.0.0.1:7073";
  uint32_t hash = 0;
  for (const char c : id) hash = hash * 31 + static_cast<uint8_t>(c);
  return "10.1." + std::to_string(hash / 256 % 256) + "." + std::to_string(hash % 256) + ":7073";
}

inline AnnouncedAgent Agent(const std::string& id, const std::string& service = "db",
                            const std::string& boot = "boot-1", double cores = 1) {
  AnnouncedAgent agent;
  agent.agent_id = id;
  agent.boot_id = boot;
  agent.trunk_address = TrunkAddress(id);
  agent.endpoints.push_back({{service, id}, 0, cores, ""});
  return agent;
}

inline ReportedLoad Load(const std::string& id, double cpu = 0.5, double successes = 100,
                         const std::string& service = "db") {
  ReportedLoad load;
  load.key = {service, id};
  load.cpu_utilization = cpu;
  load.successes_per_second = successes;
  return load;
}

}  // namespace trunkline
