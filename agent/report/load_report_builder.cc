#include "agent/report/load_report_builder.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "agent/sample/load_sample.h"
#include "common/config/durations.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {
namespace {

void SetAnnouncement(const AgentIdentity& identity, const std::vector<LoadSample>& samples,
                     v1::AgentAnnouncement& announcement) {
  announcement.set_agent_id(identity.agent_id);
  announcement.set_boot_id(identity.boot_id);
  announcement.set_version(identity.version);
  announcement.set_trunk_address(identity.trunk_address);
  for (const LoadSample& sample : samples) {
    v1::EndpointAnnouncement& endpoint = *announcement.add_endpoints();
    endpoint.set_service(sample.service);
    endpoint.set_endpoint_id(sample.endpoint_id);
    if (sample.capacity_hint > 0) endpoint.set_capacity_hint(sample.capacity_hint);
    endpoint.set_cores(sample.cores);
    endpoint.set_server_boot_id(sample.server_boot_id);
    endpoint.set_server_address(sample.server_address);
  }
}

void SetLoad(const LoadSample& sample, v1::EndpointLoad& load) {
  load.set_service(sample.service);
  load.set_endpoint_id(sample.endpoint_id);
  if (sample.cpu_known) load.set_cpu_utilization(sample.cpu_utilization);
  load.set_cpu_source(sample.cpu_source);
  if (sample.cpu_throttled) load.set_cpu_throttled(*sample.cpu_throttled);
  if (sample.memory_utilization) load.set_memory_utilization(*sample.memory_utilization);
  v1::Pressure& pressure = *load.mutable_pressure();
  if (sample.cpu_pressure) pressure.set_cpu(*sample.cpu_pressure);
  if (sample.memory_pressure) pressure.set_memory(*sample.memory_pressure);
  if (sample.io_pressure) pressure.set_io(*sample.io_pressure);
  if (sample.connections) load.set_connections(*sample.connections);
  if (sample.connection_utilization) {
    load.set_connection_utilization(*sample.connection_utilization);
  }
  load.set_bytes_per_second(sample.bytes_per_second);
  if (sample.nic_bytes_per_second) load.set_nic_bytes_per_second(*sample.nic_bytes_per_second);
  if (sample.nic_utilization) load.set_nic_utilization(*sample.nic_utilization);
  load.set_active_streams(sample.active_streams);
  load.set_successes_per_second(sample.successes_per_second);
  load.set_errors_per_second(sample.errors_per_second);
  if (sample.accept_overflows_per_second) {
    load.set_accept_overflows_per_second(*sample.accept_overflows_per_second);
  }
  load.set_reachable(sample.reachable);
  load.set_server_boot_id(sample.server_boot_id);
  load.set_cores(sample.cores);
}

}  // namespace

v1::ReportLoadRequest BuildLoadReport(const AgentIdentity& identity, uint64_t seq, bool announce,
                                      const std::vector<LoadSample>& samples) {
  v1::ReportLoadRequest report;
  report.set_seq(seq);
  if (announce) SetAnnouncement(identity, samples, *report.mutable_announcement());
  for (const LoadSample& sample : samples) SetLoad(sample, *report.add_endpoints());
  return report;
}

Directive ReadDirective(const v1::ReportLoadResponse& directive) {
  Directive result;
  if (directive.has_report_interval()) {
    const absl::Duration interval = ReadDuration(directive.report_interval());
    // An older controller leaves the field unset, which reads as zero.
    if (interval > absl::ZeroDuration()) {
      result.report_interval = std::clamp(interval, kMinReportInterval, kMaxReportInterval);
    }
  }
  for (const auto& endpoint : directive.endpoints()) {
    result.endpoints.push_back({endpoint.service(), endpoint.endpoint_id(), endpoint.draining()});
  }
  for (const auto& refused : directive.refused()) {
    result.refused.push_back({refused.service(), refused.endpoint_id(), refused.reason()});
  }
  return result;
}

}  // namespace trunkline
