#include "agent/agent_metrics.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/report/load_report_builder.h"
#include "agent/report/load_reporter.h"
#include "agent/report/sampling_loop.h"
#include "agent/sample/load_sample.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "common/observe/metrics_page.h"

namespace trunkline {
namespace {

// A value that is not known is omitted, since 0 would look idle.
void AddKnown(MetricsWriter& writer, const char* name, const char* help, const MetricLabels& labels,
              std::optional<double> value) {
  if (value) writer.AddGauge(name, help, labels, *value);
}

void CollectSample(const LoadSample& sample, MetricsWriter& writer) {
  const MetricLabels service = {{"service", sample.service}};
  const auto with = [&](const char* label, const char* value) {
    return MetricLabels{{"service", sample.service}, {label, value}};
  };
  constexpr char kUnreadable[] = "1 while the source of a load value cannot be read, else 0";
  const auto unreadable = [&](const char* source, const std::string& error) {
    writer.AddGauge("agent_source_unreadable", kUnreadable, with("source", source),
                    error.empty() ? 0 : 1);
  };
  unreadable("cpu", sample.cpu_error);
  unreadable("memory", sample.memory_error);
  unreadable("connections", sample.connections_error);
  unreadable("network", sample.network_error);
  if (sample.cpu_known) {
    writer.AddGauge("agent_cpu_utilization", "Share in use of the CPU that the service may use",
                    {{"service", sample.service}, {"source", sample.cpu_source}},
                    sample.cpu_utilization);
  }
  writer.AddGauge("agent_cpu_limit_cores", "Cores that the service may use", service, sample.cores);
  AddKnown(writer, "agent_cpu_throttled",
           "Share of time in which a CPU quota stopped the service's control group", service,
           sample.cpu_throttled);
  AddKnown(writer, "agent_memory_utilization", "Share in use of the service's memory limit",
           service, sample.memory_utilization);
  constexpr char kPressure[] = "Share of the last 10 s in which a task waited for the resource";
  const auto pressure = [&](const char* resource, std::optional<double> share) {
    AddKnown(writer, "agent_pressure", kPressure, with("resource", resource), share);
  };
  pressure("cpu", sample.cpu_pressure);
  pressure("memory", sample.memory_pressure);
  pressure("io", sample.io_pressure);
  AddKnown(writer, "agent_connections", "Established connections of the service's port", service,
           sample.connections);
  AddKnown(writer, "agent_connection_utilization",
           "Established connections over their configured limit", service,
           sample.connection_utilization);
  writer.AddGauge("agent_bytes_per_second",
                  "Bytes of the service's connections and streams, per second", service,
                  sample.bytes_per_second);
  writer.AddGauge("agent_reachable",
                  "1 while the server accepts connections or none was tried, else 0", service,
                  sample.reachable ? 1 : 0);
}

void CollectTraffic(const std::string& name, const ServiceTrafficTotals& totals,
                    MetricsWriter& writer) {
  const auto with = [&](const char* label, const char* value) {
    return MetricLabels{{"service", name}, {label, value}};
  };
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  writer.AddGauge("agent_active_streams", "Streams currently open", {{"service", name}},
                  count(totals.active_streams));
  writer.AddGauge("agent_load_streams",
                  "Streams currently open that count as load: bytes pass or an answer is awaited",
                  {{"service", name}}, count(totals.load_streams));
  writer.AddCounter("agent_streams_total", "Streams opened by proxies", {{"service", name}},
                    count(totals.streams_opened));
  writer.AddCounter("agent_stream_successes_total",
                    "Streams of which both directions ended cleanly", {{"service", name}},
                    count(totals.successes));
  constexpr char kErrors[] = "Streams that the local server did not accept or reset";
  writer.AddCounter("agent_stream_errors_total", kErrors, with("cause", "connect"),
                    count(totals.errors_connect));
  writer.AddCounter("agent_stream_errors_total", kErrors, with("cause", "reset"),
                    count(totals.errors_reset));
  constexpr char kBytes[] = "Bytes of streams, by direction";
  writer.AddCounter("agent_stream_bytes_total", kBytes, with("direction", "from_proxy"),
                    count(totals.bytes_from_proxy));
  writer.AddCounter("agent_stream_bytes_total", kBytes, with("direction", "to_proxy"),
                    count(totals.bytes_to_proxy));
  writer.AddHistogram("agent_connect_latency_seconds", "Time to connect to the local server",
                      {{"service", name}}, totals.connect_latency);
}

void CollectNetwork(const std::vector<LoadSample>& samples, MetricsWriter& writer) {
  if (samples.empty()) return;
  // Network values describe the host and are the same in every sample.
  AddKnown(writer, "agent_nic_bytes_per_second", "Bytes through the network interface, per second",
           {}, samples[0].nic_bytes_per_second);
  AddKnown(writer, "agent_nic_utilization", "Share in use of the link speed", {},
           samples[0].nic_utilization);
}

void CollectReporter(const LoadReporter::Status& status, absl::Duration interval,
                     MetricsWriter& writer) {
  writer.AddGauge("agent_controller_connected",
                  "1 while a controller accepts this agent's reports, else 0", {},
                  status.connected ? 1 : 0);
  writer.AddCounter("agent_report_streams_total", "Report streams opened to the controller", {},
                    static_cast<double>(status.streams_opened));
  writer.AddCounter("agent_reports_sent_total", "Load reports sent to the controller", {},
                    static_cast<double>(status.reports_sent));
  writer.AddCounter("agent_directives_total", "Directives received from the controller", {},
                    static_cast<double>(status.directives_received));
  writer.AddGauge("agent_report_interval_seconds", "Time between two load reports", {},
                  absl::ToDoubleSeconds(interval));
  writer.AddGauge("agent_refused_endpoints",
                  "Endpoints of this agent that the controller does not accept", {},
                  static_cast<double>(status.refused.size()));
  for (const Directive::EndpointState& endpoint : status.endpoints) {
    writer.AddGauge("agent_draining", "1 while the endpoint gets no new flows, else 0",
                    {{"service", endpoint.service}, {"endpoint", endpoint.endpoint_id}},
                    endpoint.draining ? 1 : 0);
  }
}

}  // namespace

void CollectAgentMetrics(const std::vector<LocalService>& services, const TrafficTable& traffic,
                         const SamplingLoop& loop, const LoadReporter& reporter,
                         MetricsWriter& writer) {
  const std::vector<LoadSample> samples = loop.Latest();
  for (const LoadSample& sample : samples) CollectSample(sample, writer);
  CollectNetwork(samples, writer);
  for (size_t i = 0; i < services.size(); ++i) {
    CollectTraffic(services[i].name, traffic.Totals(i), writer);
  }
  CollectReporter(reporter.status(), loop.interval(), writer);
}

}  // namespace trunkline
