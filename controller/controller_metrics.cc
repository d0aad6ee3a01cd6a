#include "controller/controller_metrics.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/observe/metrics_page.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/proxy_table.h"
#include "controller/loop/control_loop.h"
#include "controller/wire/view.h"

namespace trunkline {
namespace {

void CollectEndpoint(const EndpointReason& reason, const EndpointVerdict& verdict,
                     MetricsWriter& writer) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  const MetricLabels labels = {{"service", endpoint.key.service},
                               {"endpoint", endpoint.key.endpoint_id}};
  writer.AddGauge("controller_endpoint_weight",
                  "Published weight of the endpoint, relative to a mean of 1 in its service",
                  labels, reason.weight);
  writer.AddGauge("controller_endpoint_capacity",
                  "Learned capacity of the endpoint, relative to a mean of 1 in its service",
                  labels, reason.load.capacity);
  MetricLabels state = labels;
  state.emplace_back("state", endpoint.draining ? "draining" : StateName(endpoint.state));
  writer.AddGauge("controller_endpoint_state", "1 for the state that the endpoint is in", state, 1);
  writer.AddGauge(
      "controller_endpoint_suspect",
      "1 while the endpoint's agent reports next to no utilization although proxies see "
      "it do much work, else 0",
      labels, reason.load.suspect ? 1 : 0);
  writer.AddGauge("controller_endpoint_ejecting_proxies",
                  "Connected proxies of which a worker currently ejects the endpoint", labels,
                  verdict.ejected_by);
  if (verdict.checked_by > 0) {
    writer.AddGauge("controller_endpoint_checking_proxies",
                    "Connected proxies that have checked the endpoint's health", labels,
                    verdict.checked_by);
    writer.AddGauge("controller_endpoint_healthy_proxies",
                    "Connected proxies whose health checks find the endpoint healthy", labels,
                    verdict.healthy_by);
  }
  writer.AddCounter(
      "controller_endpoint_proxy_errors_total",
      "Refused connects, resets and lost flows at the endpoint, as reported by proxies", labels,
      static_cast<double>(verdict.errors));
  if (!endpoint.load.has_value()) return;
  if (endpoint.load->cpu_known) {
    writer.AddGauge(
        "controller_endpoint_utilization_ratio",
        "Largest utilization among the endpoint's resources (1 is full), from its last load report",
        labels, Utilization(*endpoint.load));
  }
  writer.AddGauge("controller_endpoint_report_age_seconds",
                  "Time since the endpoint's last load report in seconds", labels,
                  absl::ToDoubleSeconds(*reason.report_age));
}

int Rank(EndpointCondition state) {
  switch (state) {
    case EndpointCondition::kFresh:
      return 0;
    case EndpointCondition::kStale:
      return 1;
    case EndpointCondition::kExpected:
      return 2;
    case EndpointCondition::kExpired:
      return 3;
  }
  return 3;
}

void CollectEndpoints(const ControllerView& view, const ProxyTable& proxies,
                      MetricsWriter& writer) {
  std::vector<const EndpointReason*> endpoints;
  for (const ServiceReason& service : view.services) {
    const MetricLabels labels = {{"service", service.spec.name}};
    writer.AddGauge("controller_service_endpoints",
                    "Endpoints of the service that the controller knows", labels,
                    static_cast<double>(service.endpoints.size()));
    writer.AddGauge(
        "controller_service_frozen",
        "1 while the service's weights are frozen because most load reports are missing", labels,
        service.load.frozen() ? 1 : 0);
    for (const EndpointReason& reason : service.endpoints) endpoints.push_back(&reason);
  }
  // Endpoints that report come first: the limit must not hide them behind those that are gone.
  const auto rank = [](const EndpointReason* reason) { return Rank(reason->endpoint.state); };
  std::ranges::stable_sort(endpoints, {}, rank);
  const size_t omitted = endpoints.size() - std::min(endpoints.size(), kMaxEndpointSeries);
  endpoints.resize(endpoints.size() - omitted);
  const std::map<EndpointKey, EndpointVerdict> verdicts = proxies.Verdicts();
  for (const EndpointReason* reason : endpoints) {
    auto verdict = verdicts.find(reason->endpoint.key);
    CollectEndpoint(*reason, verdict == verdicts.end() ? EndpointVerdict{} : verdict->second,
                    writer);
  }
  writer.AddGauge("controller_endpoints_without_series",
                  "Endpoints that are left out of this page to bound its size", {},
                  static_cast<double>(omitted));
}

void CollectReports(const ReportCounts& counts, MetricsWriter& writer) {
  const std::pair<const char*, uint64_t> results[] = {{"accepted", counts.accepted},
                                                      {"old_sequence", counts.old_sequence},
                                                      {"unknown_session", counts.unknown_session},
                                                      {"invalid", counts.invalid},
                                                      {"too_frequent", counts.too_frequent},
                                                      {"overflow", counts.overflow}};
  for (const auto& [result, count] : results) {
    writer.AddCounter("controller_reports_total", "Load reports received, by result",
                      {{"result", result}}, static_cast<double>(count));
  }
}

}  // namespace

void CollectControllerMetrics(ControlLoop& loop, ProxyTable& proxies, MetricsWriter& writer) {
  const std::shared_ptr<const ControllerView> view = loop.view();
  CollectEndpoints(*view, proxies, writer);
  CollectReports(loop.report_counts(), writer);
  writer.AddGauge("controller_snapshot_epoch", "Epoch of the published snapshot", {},
                  static_cast<double>(view->snapshot->id.epoch));
  writer.AddGauge("controller_snapshot_version", "Version of the published snapshot", {},
                  static_cast<double>(view->snapshot->id.version));
  writer.AddGauge("controller_connected_agents", "Agents currently connected", {},
                  static_cast<double>(view->connected_agents));
  writer.AddGauge("controller_refused_endpoints",
                  "Endpoints of connected agents that are refused: the service is unknown, or "
                  "another agent holds the endpoint",
                  {}, static_cast<double>(view->refused_endpoints));
  writer.AddGauge("controller_connected_proxies", "Proxies currently connected", {},
                  static_cast<double>(proxies.connected()));
  writer.AddCounter("controller_snapshot_nacks_total", "Snapshots that proxies refused", {},
                    static_cast<double>(proxies.nacks()));
  writer.AddCounter("controller_state_write_failures_total", "Failed writes of the state file", {},
                    static_cast<double>(loop.state_write_failures()));
  writer.AddHistogram(
      "controller_tick_duration_seconds",
      "Time of one control loop tick in seconds: age reports, learn, weigh and publish", {},
      loop.tick_durations());
}

}  // namespace trunkline
