// Wires the agent's parts: derives the options of each part from the settings, with the callbacks
// between parts, and holds the constants that operators cannot set. Edge: callbacks probe the local
// servers. Used by main only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/agent_settings.h"
#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/load_sampler.h"
#include "agent/sample/port_watch.h"
#include "agent/trunk/trunk_server.h"
#include "common/base/system_files.h"
#include "common/resolver/name_resolver.h"

namespace trunkline {

// Applies until the controller's first directive.
inline constexpr absl::Duration kFirstReportInterval = absl::Seconds(1);
// Limits how long stopping waits for the controller; a healthy controller takes milliseconds.
inline constexpr absl::Duration kLeaveTimeout = absl::Seconds(1);

// Returns a resolver that looks up the servers that are configured by name.
std::unique_ptr<NameResolver> ResolveTargets(const AgentSettings& settings);

// A null `tls` makes trunks plaintext. `names` outlives the server.
TrunkServer::Options TrunkOptions(const AgentSettings& settings,
                                  std::shared_ptr<const TrunkTls> tls, NameResolver& names);

// Returns the ports whose connections are counted: those of servers on TCP.
std::vector<uint16_t> ServerPorts(const AgentSettings& settings);
// Returns the smallest connection limit among those servers, or 0 if none has a limit.
uint64_t SmallestConnectionLimit(const AgentSettings& settings);

// `files`, `ports` and `names` outlive the sampler.
LoadSamplerOptions SamplerOptions(const SystemFiles& files, const AgentSettings& settings,
                                  const PortWatch& ports, NameResolver& names);

// `trunk_port` is the port that the trunk server got; `loop`, whose interval follows the
// controller's directives, outlives the reporter.
LoadReporter::Options ReporterOptions(const AgentSettings& settings, int trunk_port,
                                      SamplingLoop& loop);

// Hands the latest utilization of each service to the in-band load reports.
void SetUtilizations(const std::vector<LoadSample>& latest, TrafficTable& traffic);

// Returns what keeps load from being reported, one sentence each, for /readyz.
std::vector<std::string> FaultsOf(const SamplingLoop& loop, const LoadReporter& reporter);

}  // namespace trunkline
