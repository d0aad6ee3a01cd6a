#include "controller/wire/report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "common/config/config_rules.h"
#include "common/config/names.h"
#include "controller/core/load_report.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {
namespace {

// A utilization of 1000 or a rate of 1e15 is a unit mistake.
constexpr double kMaxShare = 1000;
constexpr double kMaxRate = 1e15;
constexpr double kMaxCores = 100000;
constexpr double kMaxHint = 100000;

absl::Status CheckNumber(std::string_view field, double value, double max) {
  if (std::isfinite(value) && value >= 0 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(AbslView(field), ": expected a number from 0 to ", max, "; got ", value));
}

struct NumberRule {
  const char* field;
  double value;
  double max;
};

absl::Status CheckLoad(const v1::EndpointLoad& load) {
  const NumberRule rules[] = {
      {"cpu_utilization", load.cpu_utilization(), kMaxShare},
      {"cpu_throttled", load.cpu_throttled(), kMaxShare},
      {"memory_utilization", load.memory_utilization(), kMaxShare},
      {"connection_utilization", load.connection_utilization(), kMaxShare},
      {"bytes_per_second", load.bytes_per_second(), kMaxRate},
      {"nic_bytes_per_second", load.nic_bytes_per_second(), kMaxRate},
      {"nic_utilization", load.nic_utilization(), kMaxShare},
      {"successes_per_second", load.successes_per_second(), kMaxRate},
      {"errors_per_second", load.errors_per_second(), kMaxRate},
      {"accept_overflows_per_second", load.accept_overflows_per_second(), kMaxRate},
      {"cores", load.cores(), kMaxCores},
  };
  for (const NumberRule& rule : rules) {
    if (absl::Status status = CheckNumber(rule.field, rule.value, rule.max); !status.ok()) {
      return status;
    }
  }
  if (load.named_utilization_size() > kMaxNamedMetrics) {
    return absl::InvalidArgumentError(absl::StrCat("named_utilization: expected at most ",
                                                   kMaxNamedMetrics, " metrics; got ",
                                                   load.named_utilization_size()));
  }
  for (const auto& [name, value] : load.named_utilization()) {
    if (absl::Status status = CheckName("named_utilization", name); !status.ok()) return status;
    absl::Status status = CheckNumber(absl::StrCat("named_utilization.", name), value, kMaxShare);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<ReportedLoad> ReadLoad(const v1::EndpointLoad& load) {
  if (absl::Status status = CheckLoad(load); !status.ok()) return status;
  ReportedLoad result;
  result.key = {load.service(), load.endpoint_id()};
  result.cpu_utilization = load.cpu_utilization();
  result.cpu_known = load.has_cpu_utilization();
  result.cpu_source = Utf8Prefix(load.cpu_source(), kMaxNameLength);
  if (load.has_cpu_throttled()) result.cpu_throttled = load.cpu_throttled();
  if (load.has_memory_utilization()) result.memory_utilization = load.memory_utilization();
  if (load.has_connections()) result.connections = load.connections();
  if (load.has_connection_utilization()) {
    result.connection_utilization = load.connection_utilization();
  }
  result.bytes_per_second = load.bytes_per_second();
  if (load.has_nic_utilization()) result.nic_utilization = load.nic_utilization();
  result.active_streams = load.active_streams();
  result.successes_per_second = load.successes_per_second();
  result.errors_per_second = load.errors_per_second();
  for (const auto& [name, value] : load.named_utilization()) {
    if (value < result.named_utilization) continue;
    result.named_utilization = value;
    result.named_metric = name;
  }
  result.reachable = load.reachable();
  result.server_boot_id = Utf8Prefix(load.server_boot_id(), kMaxNameLength);
  result.cores = load.cores();
  return result;
}

absl::StatusOr<AnnouncedEndpoint> ReadEndpoint(const v1::EndpointAnnouncement& endpoint) {
  if (absl::Status status = CheckName("service", endpoint.service()); !status.ok()) return status;
  if (absl::Status status = CheckName("endpoint_id", endpoint.endpoint_id()); !status.ok()) {
    return status;
  }
  absl::Status hint = CheckNumber("capacity_hint", endpoint.capacity_hint(), kMaxHint);
  if (!hint.ok()) return hint;
  if (absl::Status cores = CheckNumber("cores", endpoint.cores(), kMaxCores); !cores.ok()) {
    return cores;
  }
  if (endpoint.cores() == 0) {
    return absl::InvalidArgumentError("cores: expected the cores that the server may use; got 0");
  }
  if (!endpoint.server_address().empty()) {
    absl::Status usable = CheckReachableAddress("server_address", endpoint.server_address());
    if (!usable.ok()) return usable;
  }
  return AnnouncedEndpoint{{endpoint.service(), endpoint.endpoint_id()},
                           endpoint.capacity_hint(),
                           endpoint.cores(),
                           std::string(Utf8Prefix(endpoint.server_boot_id(), kMaxNameLength)),
                           endpoint.server_address()};
}

absl::StatusOr<AnnouncedAgent> ReadAnnouncement(const v1::AgentAnnouncement& announcement) {
  absl::Status id = CheckName("announcement.agent_id", announcement.agent_id());
  if (!id.ok()) return id;
  absl::Status boot = CheckName("announcement.boot_id", announcement.boot_id());
  if (!boot.ok()) return boot;
  absl::Status usable =
      CheckReachableAddress("announcement.trunk_address", announcement.trunk_address());
  if (!usable.ok()) return usable;
  AnnouncedAgent agent{announcement.agent_id(),
                       announcement.boot_id(),
                       std::string(Utf8Prefix(announcement.version(), kMaxNameLength)),
                       announcement.trunk_address(),
                       {}};
  for (int i = 0; i < announcement.endpoints_size(); ++i) {
    absl::StatusOr<AnnouncedEndpoint> endpoint = ReadEndpoint(announcement.endpoints(i));
    if (!endpoint.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("announcement.endpoints[", i, "].", endpoint.status().message()));
    }
    const bool twice =
        std::any_of(agent.endpoints.begin(), agent.endpoints.end(),
                    [&](const AnnouncedEndpoint& e) { return e.key == endpoint->key; });
    if (twice) {
      return absl::InvalidArgumentError(absl::StrCat("announcement.endpoints[", i,
                                                     "]: ", endpoint->key.ToString(),
                                                     " appears twice in the announcement"));
    }
    agent.endpoints.push_back(*std::move(endpoint));
  }
  return agent;
}

absl::StatusOr<ValidReport> Read(const v1::ReportLoadRequest& report) {
  ValidReport result;
  if (report.has_announcement()) {
    absl::StatusOr<AnnouncedAgent> agent = ReadAnnouncement(report.announcement());
    if (!agent.ok()) return agent.status();
    result.announcement = *std::move(agent);
  }
  if (static_cast<size_t>(report.endpoints_size()) > kMaxAgentEndpoints) {
    return absl::InvalidArgumentError(absl::StrCat(
        "endpoints: expected at most ", kMaxAgentEndpoints, "; got ", report.endpoints_size()));
  }
  for (int i = 0; i < report.endpoints_size(); ++i) {
    absl::StatusOr<ReportedLoad> load = ReadLoad(report.endpoints(i));
    if (!load.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("endpoints[", i, "].", load.status().message()));
    }
    result.loads.push_back(*std::move(load));
  }
  result.seq = report.seq();
  result.leaving = report.leaving();
  return result;
}

}  // namespace

absl::StatusOr<ValidReport> ReadLoadReport(const v1::ReportLoadRequest& report,
                                           const std::string& agent_id) {
  absl::StatusOr<ValidReport> result = Read(report);
  if (result.ok()) return result;
  return absl::InvalidArgumentError(absl::StrCat("load report",
                                                 agent_id.empty() ? "" : " of agent ", agent_id,
                                                 ": ", result.status().message()));
}

}  // namespace trunkline
