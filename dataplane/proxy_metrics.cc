#include "dataplane/proxy_metrics.h"

#include <algorithm>
#include <optional>
#include <string>

namespace trunkline {
namespace {

using WorkerCounter = Counter WorkerStats::*;
using CellCounter = Counter EndpointCell::*;
using CellGauge = Gauge EndpointCell::*;

uint64_t Sum(const TrafficStats& stats, WorkerCounter counter) {
  uint64_t sum = 0;
  for (const WorkerStats& worker : stats.workers()) sum += (worker.*counter).Value();
  return sum;
}

uint64_t SumTrunk(const TrafficStats& stats, Counter TrunkCounters::*counter) {
  uint64_t sum = 0;
  for (const WorkerStats& worker : stats.workers()) sum += (worker.trunk.*counter).Value();
  return sum;
}

int64_t SumGauge(const TrafficStats& stats, Gauge WorkerStats::*gauge) {
  int64_t sum = 0;
  for (const WorkerStats& worker : stats.workers()) sum += (worker.*gauge).Value();
  return sum;
}

LatencyHistogram::Values SumHistogram(const TrafficStats& stats,
                                      LatencyHistogram WorkerStats::*histogram) {
  LatencyHistogram::Values sum;
  for (const WorkerStats& worker : stats.workers()) sum += (worker.*histogram).Read();
  return sum;
}

double Sum(const EndpointStats& endpoint, CellCounter counter) {
  uint64_t sum = 0;
  for (const EndpointCell& cell : endpoint.cells()) sum += (cell.*counter).Value();
  return static_cast<double>(sum);
}

double Sum(const EndpointStats& endpoint, CellGauge gauge) {
  int64_t sum = 0;
  for (const EndpointCell& cell : endpoint.cells()) sum += (cell.*gauge).Value();
  return static_cast<double>(sum);
}

// What any worker heard; EndpointCell::kUnknown: none did.
int64_t Heard(const EndpointStats& endpoint, CellGauge gauge) {
  int64_t most = EndpointCell::kUnknown;
  for (const EndpointCell& cell : endpoint.cells()) most = std::max(most, (cell.*gauge).Value());
  return most;
}

void CollectErrors(const TrafficStats& stats, MetricsWriter& writer) {
  const struct {
    const char* cause;
    WorkerCounter counter;
  } kCauses[] = {{"no_endpoint", &WorkerStats::no_endpoint},
                 {"no_socket", &WorkerStats::no_socket},
                 {"connect_refused", &WorkerStats::connect_refused},
                 {"server_reset", &WorkerStats::server_reset},
                 {"trunk_lost", &WorkerStats::trunk_lost},
                 {"connection_lost", &WorkerStats::connection_lost},
                 {"client_reset", &WorkerStats::client_reset},
                 {"timeout", &WorkerStats::timeouts},
                 {"shutdown", &WorkerStats::shutdowns},
                 {"bad_request", &WorkerStats::bad_requests},
                 {"slow_reader", &WorkerStats::slow_readers},
                 {"source_limit", &WorkerStats::source_limited},
                 {"proxy_header", &WorkerStats::bad_headers},
                 {"memory", &WorkerStats::shed}};
  for (const auto& item : kCauses) {
    writer.AddCounter("proxy_flow_errors_total",
                      "Client connections that did not end well, by cause", {{"cause", item.cause}},
                      static_cast<double>(Sum(stats, item.counter)));
  }
}

// What this machine lacked for a connection, whoever was to be at its other end.
void CollectShortages(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* lacking, WorkerCounter which) {
    writer.AddCounter("proxy_connect_shortages_total",
                      "Connects that were not made because this machine lacked something for them",
                      {{"lacking", lacking}}, static_cast<double>(Sum(stats, which)));
  };
  counter("socket", &WorkerStats::socket_shortages);
  counter("port", &WorkerStats::port_shortages);
  writer.AddGauge("proxy_socket_exhausted_workers",
                  "Workers without descriptors or memory for a connection: new clients wait", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::sockets_short)));
}

void CollectWorkers(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* name, const char* help, WorkerCounter which) {
    writer.AddCounter(name, help, {}, static_cast<double>(Sum(stats, which)));
  };
  counter("proxy_trunk_dials_total", "Trunks dialled", &WorkerStats::dials);
  counter("proxy_trunk_dial_failures_total", "Trunks that did not come up",
          &WorkerStats::dial_failures);
  counter("proxy_inband_reports_total", "Loads of a service's server heard on trunks",
          &WorkerStats::inband_reports);
  counter("proxy_inband_report_errors_total",
          "Load streams given up because they were not understood", &WorkerStats::load_faults);
  writer.AddGauge("proxy_inband_subscriptions", "Trunks whose agent was asked for its load", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::load_subscriptions)));
  counter("proxy_retries_total", "Flows tried again at another endpoint", &WorkerStats::retries);
  const auto trunk = [&](const char* name, const char* help, Counter TrunkCounters::*which) {
    writer.AddCounter(name, help, {}, static_cast<double>(SumTrunk(stats, which)));
  };
  trunk("proxy_trunk_read_bytes_total", "Bytes read from trunks", &TrunkCounters::bytes_read);
  trunk("proxy_trunk_written_bytes_total", "Bytes written to trunks",
        &TrunkCounters::bytes_written);
  trunk("proxy_trunk_reads_total", "Reads of trunk sockets", &TrunkCounters::reads);
  trunk("proxy_trunk_writes_total", "Writes of trunk sockets", &TrunkCounters::writes);
  trunk("proxy_trunk_ping_timeouts_total", "Trunks given up for silence",
        &TrunkCounters::ping_timeouts);
  trunk("proxy_trunk_tls_failures_total", "TLS handshakes with agents that failed",
        &TrunkCounters::tls_failures);
  trunk("proxy_trunk_protocol_errors_total", "Trunks that broke HTTP/2",
        &TrunkCounters::protocol_errors);
  writer.AddGauge("proxy_trunks", "Trunks open", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::trunks)));
  writer.AddGauge("proxy_direct_connections", "Connections to servers that are one client's own",
                  {}, static_cast<double>(SumGauge(stats, &WorkerStats::direct_connections)));
  writer.AddGauge("proxy_to_client_buffered_bytes",
                  "Bytes kept for clients that have not taken them yet", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::to_client_buffered_bytes)));
  writer.AddGauge("proxy_from_client_buffered_bytes",
                  "Bytes of clients that cannot go on yet: requests that are not whole or wait, "
                  "bytes that a server does not take or has not accepted yet",
                  {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::from_client_buffered_bytes)));
  writer.AddGauge("proxy_memory_paused_workers",
                  "Workers that take no new client because memory is short", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::memory_full)));
  writer.AddGauge("proxy_workers", "Worker threads", {},
                  static_cast<double>(stats.workers().size()));
  writer.AddHistogram("proxy_pick_latency_seconds", "Time to pick an endpoint, one pick in 64", {},
                      SumHistogram(stats, &WorkerStats::pick_latency));
  writer.AddHistogram("proxy_loop_pass_seconds",
                      "Duration of one pass of a worker's event loop, without the wait before it",
                      {}, SumHistogram(stats, &WorkerStats::loop_passes));
  writer.AddHistogram("proxy_connect_latency_seconds",
                      "From accept to the agent's word that the server is connected", {},
                      SumHistogram(stats, &WorkerStats::connect_latency));
}

void CollectShared(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* name, const char* help, Counter SharedCounters::*which) {
    uint64_t sum = 0;
    for (const WorkerStats& worker : stats.workers()) sum += (worker.shared.*which).Value();
    writer.AddCounter(name, help, {}, static_cast<double>(sum));
  };
  writer.AddGauge("proxy_shared_connections", "Shared connections to servers open", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::shared_connections)));
  counter("proxy_shared_requests_total", "Requests sent on shared connections",
          &SharedCounters::requests);
  counter("proxy_shared_replies_total", "Replies that came back", &SharedCounters::replies);
  counter("proxy_shared_replies_discarded_total", "Replies whose client had left",
          &SharedCounters::replies_discarded);
  counter("proxy_shared_replies_unmatched_total", "Replies with an id that nobody waited for",
          &SharedCounters::replies_unmatched);
  counter("proxy_shared_requests_retried_total",
          "Requests sent again because their connection ended before they were answered",
          &SharedCounters::resent);
  counter("proxy_shared_reply_timeouts_total", "Times that no reply came in time",
          &SharedCounters::reply_timeouts);
  counter("proxy_shared_protocol_errors_total",
          "Shared connections closed for bytes that were no reply",
          &SharedCounters::protocol_errors);
  counter("proxy_shared_reads_total", "Reads of shared connections", &SharedCounters::reads);
  counter("proxy_shared_writes_total", "Writes of shared connections", &SharedCounters::writes);
  counter("proxy_shared_read_bytes_total", "Bytes read from shared connections",
          &SharedCounters::bytes_read);
  counter("proxy_shared_written_bytes_total", "Bytes written to shared connections",
          &SharedCounters::bytes_written);
}

void CollectListener(const ListenerStats& listener, MetricsWriter& writer) {
  const MetricLabels labels = {{"service", listener.service}};
  uint64_t accepted = 0;
  uint64_t pauses = 0;
  int64_t clients = 0;
  for (const ListenerCell& cell : listener.cells()) {
    accepted += cell.accepted.Value();
    pauses += cell.pauses.Value();
    clients += cell.clients.Value();
  }
  writer.AddCounter("proxy_clients_accepted_total", "Client connections accepted", labels,
                    static_cast<double>(accepted));
  writer.AddCounter("proxy_listener_pauses_total", "Times that a listener waited for room", labels,
                    static_cast<double>(pauses));
  writer.AddGauge("proxy_clients", "Client connections open", labels, static_cast<double>(clients));
}

void CollectEndpoint(const EndpointStats& endpoint, MetricsWriter& writer) {
  const MetricLabels labels = {{"service", endpoint.service}, {"endpoint", endpoint.endpoint_id}};
  const auto counter = [&](const char* name, const char* help, CellCounter which) {
    writer.AddCounter(name, help, labels, Sum(endpoint, which));
  };
  counter("proxy_endpoint_flows_total", "Flows given to the endpoint; requests, in message mode",
          &EndpointCell::flows);
  counter("proxy_endpoint_connect_refused_total", "Flows that the endpoint's server did not take",
          &EndpointCell::connect_refused);
  counter("proxy_endpoint_resets_total", "Flows that the endpoint's server broke",
          &EndpointCell::resets);
  counter("proxy_endpoint_trunk_losses_total",
          "Flows that went down with their trunk or shared connection",
          &EndpointCell::trunk_losses);
  counter("proxy_endpoint_sent_bytes_total", "Bytes to the server", &EndpointCell::bytes_to_server);
  counter("proxy_endpoint_received_bytes_total", "Bytes from the server",
          &EndpointCell::bytes_to_client);
  writer.AddGauge("proxy_endpoint_active_flows",
                  "Flows open at the endpoint, or requests under way", labels,
                  Sum(endpoint, &EndpointCell::active));
  writer.AddGauge("proxy_endpoint_load_flows",
                  "Those of them that are load: bytes pass or are awaited", labels,
                  Sum(endpoint, &EndpointCell::load));
  if (const int64_t all = Heard(endpoint, &EndpointCell::server_active); all >= 0) {
    writer.AddGauge("proxy_endpoint_server_load_streams",
                    "Streams of all proxies that are load, as the endpoint's agent says on trunks",
                    labels, static_cast<double>(all));
  }
  if (const int64_t used = Heard(endpoint, &EndpointCell::server_utilization); used >= 0) {
    writer.AddGauge("proxy_endpoint_server_utilization",
                    "Utilization of the server, as the endpoint's agent says on trunks", labels,
                    static_cast<double>(used) / 1000);
  }
  writer.AddGauge("proxy_endpoint_ejecting_workers",
                  "Workers that leave the endpoint alone for a time", labels,
                  Sum(endpoint, &EndpointCell::ejected));
}

void CollectReading(const char* of, const std::optional<MemoryReading>& reading,
                    MetricsWriter& writer) {
  if (!reading) return;
  writer.AddGauge("proxy_memory_used_bytes", "Memory in use, as it is held against a limit",
                  {{"of", of}}, static_cast<double>(reading->used_bytes));
  writer.AddGauge("proxy_memory_budget_bytes",
                  "What may be used: clients are reset at 95 %, none taken at 98 %", {{"of", of}},
                  static_cast<double>(reading->budget_bytes));
}

}  // namespace

void CollectMemory(const MemoryMeter& meter, const TrafficStats& stats, MetricsWriter& writer) {
  CollectReading("process", meter.OfProcess(stats.PipedBytes()), writer);
  CollectReading("control_group", meter.OfGroup(), writer);
}

void CollectTraffic(const TrafficStats& stats, MetricsWriter& writer) {
  CollectWorkers(stats, writer);
  CollectShared(stats, writer);
  CollectErrors(stats, writer);
  CollectShortages(stats, writer);
  for (const auto& listener : stats.Listeners()) CollectListener(*listener, writer);
  for (const auto& endpoint : stats.Endpoints()) CollectEndpoint(*endpoint, writer);
}

}  // namespace trunkline
