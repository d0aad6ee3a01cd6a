#include "dataplane/proxy_metrics.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "common/base/forwarding_mode.h"
#include "common/base/metrics.h"
#include "common/base/trunk_counters.h"
#include "common/observe/metrics_page.h"
#include "dataplane/memory/memory_meter.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/stats/traffic_stats.h"

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

// Returns the largest value over all workers, or EndpointCell::kUnknown if no worker has one.
int64_t Heard(const EndpointStats& endpoint, CellGauge gauge) {
  int64_t most = EndpointCell::kUnknown;
  for (const EndpointCell& cell : endpoint.cells()) most = std::max(most, (cell.*gauge).Value());
  return most;
}

void CollectErrors(const TrafficStats& stats, MetricsWriter& writer) {
  constexpr struct {
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
                      "Client connections that ended with an error, by cause",
                      {{"cause", item.cause}}, static_cast<double>(Sum(stats, item.counter)));
  }
}

// Collects shortages of this machine, for which no endpoint is to blame.
void CollectShortages(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* resource, WorkerCounter which) {
    writer.AddCounter("proxy_connect_shortages_total",
                      "Upstream connects that failed because this machine lacked a resource: a "
                      "socket (descriptor or memory) or a port",
                      {{"resource", resource}}, static_cast<double>(Sum(stats, which)));
  };
  counter("socket", &WorkerStats::socket_shortages);
  counter("port", &WorkerStats::port_shortages);
  writer.AddGauge(
      "proxy_socket_exhausted_workers",
      "Workers that lack a descriptor or memory for an upstream connection; above 0, the "
      "proxy accepts no new clients",
      {}, static_cast<double>(SumGauge(stats, &WorkerStats::sockets_short)));
}

void CollectTrunks(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* name, const char* help, WorkerCounter which) {
    writer.AddCounter(name, help, {}, static_cast<double>(Sum(stats, which)));
  };
  counter("proxy_trunk_dials_total", "Trunk connections attempted", &WorkerStats::dials);
  counter("proxy_trunk_dial_failures_total",
          "Trunk connections that failed before their handshake was complete",
          &WorkerStats::dial_failures);
  counter("proxy_inband_reports_total",
          "In-band load reports received on trunks, one per service and line",
          &WorkerStats::inband_reports);
  counter("proxy_inband_report_errors_total",
          "Streams of in-band load reports closed because a report was malformed or too many came",
          &WorkerStats::load_faults);
  writer.AddGauge("proxy_inband_subscriptions",
                  "Trunks currently subscribed to in-band load reports", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::load_subscriptions)));
  const auto trunk = [&](const char* name, const char* help, Counter TrunkCounters::*which) {
    writer.AddCounter(name, help, {}, static_cast<double>(SumTrunk(stats, which)));
  };
  trunk("proxy_trunk_read_bytes_total", "Bytes read from trunk sockets",
        &TrunkCounters::bytes_read);
  trunk("proxy_trunk_written_bytes_total", "Bytes written to trunk sockets",
        &TrunkCounters::bytes_written);
  trunk("proxy_trunk_reads_total", "Read calls on trunk sockets", &TrunkCounters::reads);
  trunk("proxy_trunk_writes_total", "Write calls on trunk sockets", &TrunkCounters::writes);
  trunk("proxy_trunk_ping_timeouts_total", "Trunks closed because a PING was not answered in time",
        &TrunkCounters::ping_timeouts);
  trunk("proxy_trunk_tls_failures_total",
        "Trunks that failed because of TLS: a handshake failed, or only one end uses it",
        &TrunkCounters::tls_failures);
  trunk("proxy_trunk_protocol_errors_total", "Trunks closed because the agent violated HTTP/2",
        &TrunkCounters::protocol_errors);
  writer.AddGauge("proxy_trunks", "Trunks currently open or connecting", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::trunks)));
}

void CollectWorkers(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* name, const char* help, WorkerCounter which) {
    writer.AddCounter(name, help, {}, static_cast<double>(Sum(stats, which)));
  };
  counter("proxy_retries_total",
          "Retries of flows and requests, at another endpoint where there is one",
          &WorkerStats::retries);
  writer.AddGauge("proxy_dedicated_connections",
                  "Upstream connections currently open that serve one client only", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::direct_connections)));
  writer.AddGauge("proxy_to_client_buffered_bytes",
                  "Bytes buffered for clients that have not read them yet", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::to_client_buffered_bytes)));
  writer.AddGauge(
      "proxy_from_client_buffered_bytes",
      "Bytes buffered from clients: incomplete or pending requests, bytes that a server "
      "has not taken yet, and copies for a retry",
      {}, static_cast<double>(SumGauge(stats, &WorkerStats::from_client_buffered_bytes)));
  writer.AddGauge("proxy_memory_paused_workers",
                  "Workers that accept no new clients because memory is short", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::memory_full)));
  writer.AddGauge("proxy_check_connections", "Connections of health checks currently open", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::check_connections)));
  counter("proxy_checks_postponed_total",
          "Health checks that waited because the descriptors for them were in use, or that this "
          "machine had no socket for",
          &WorkerStats::checks_postponed);
  writer.AddGauge("proxy_workers", "Worker threads of the proxy", {},
                  static_cast<double>(stats.workers().size()));
  writer.AddHistogram("proxy_pick_latency_seconds",
                      "Time to pick an endpoint in seconds, of one pick in 64", {},
                      SumHistogram(stats, &WorkerStats::pick_latency));
  writer.AddHistogram("proxy_loop_pass_seconds",
                      "Time of one pass of a worker's event loop in seconds, without its wait", {},
                      SumHistogram(stats, &WorkerStats::loop_passes));
  writer.AddHistogram(
      "proxy_connect_latency_seconds",
      "Time from a client's accept to a connected server in seconds, in tunnel and direct "
      "mode",
      {}, SumHistogram(stats, &WorkerStats::connect_latency));
}

void CollectShared(const TrafficStats& stats, MetricsWriter& writer) {
  const auto counter = [&](const char* name, const char* help, Counter SharedCounters::*which) {
    uint64_t sum = 0;
    for (const WorkerStats& worker : stats.workers()) sum += (worker.shared.*which).Value();
    writer.AddCounter(name, help, {}, static_cast<double>(sum));
  };
  writer.AddGauge("proxy_shared_connections",
                  "Shared upstream connections currently open or connecting", {},
                  static_cast<double>(SumGauge(stats, &WorkerStats::shared_connections)));
  counter("proxy_shared_requests_total", "Requests sent on shared connections",
          &SharedCounters::requests);
  counter("proxy_shared_replies_total", "Replies received on shared connections",
          &SharedCounters::replies);
  counter("proxy_shared_replies_discarded_total", "Replies discarded because their client had left",
          &SharedCounters::replies_discarded);
  counter("proxy_shared_replies_unmatched_total",
          "Replies discarded because no request in flight had their id",
          &SharedCounters::replies_unmatched);
  counter("proxy_shared_requests_retried_total",
          "Requests sent again because their shared connection ended before their reply",
          &SharedCounters::resent);
  counter("proxy_shared_one_way_discarded_bytes_total",
          "Bytes discarded that servers of one_way services sent on shared connections",
          &SharedCounters::one_way_discarded_bytes);
  counter("proxy_shared_reply_timeouts_total",
          "Times that no byte of a reply arrived on a shared connection within reply_timeout",
          &SharedCounters::reply_timeouts);
  counter("proxy_shared_protocol_errors_total",
          "Shared connections closed because the server sent bytes that are not a valid reply",
          &SharedCounters::protocol_errors);
  counter("proxy_shared_reads_total", "Read calls on shared connections", &SharedCounters::reads);
  counter("proxy_shared_writes_total", "Write calls on shared connections",
          &SharedCounters::writes);
  counter("proxy_shared_read_bytes_total", "Bytes read from shared connections",
          &SharedCounters::bytes_read);
  counter("proxy_shared_written_bytes_total", "Bytes written to shared connections",
          &SharedCounters::bytes_written);
}

void CollectListener(const ListenerStats& listener, MetricsWriter& writer) {
  const MetricLabels labels = {{"service", listener.service}};
  uint64_t accepted = 0;
  uint64_t pauses = 0;
  uint64_t auth_refusals = 0;
  int64_t clients = 0;
  int64_t pending = 0;
  int64_t unwatched = 0;
  for (const ListenerCell& cell : listener.cells()) {
    accepted += cell.accepted.Value();
    pauses += cell.pauses.Value();
    auth_refusals += cell.auth_refusals.Value();
    clients += cell.clients.Value();
    pending += cell.pending.Value();
    unwatched += cell.unwatched.Value();
  }
  writer.AddCounter("proxy_clients_accepted_total", "Client connections accepted", labels,
                    static_cast<double>(accepted));
  writer.AddCounter(
      "proxy_listener_pauses_total",
      "Times that a listener stopped accepting because clients, descriptors or memory were "
      "at their limit",
      labels, static_cast<double>(pauses));
  writer.AddCounter(
      "proxy_auth_refusals_total",
      "Requests that the proxy refused because their client gave no credential or a wrong one, in "
      "message mode",
      labels, static_cast<double>(auth_refusals));
  writer.AddGauge("proxy_listener_sockets_unwatched",
                  "Listening sockets that accept no clients because epoll cannot watch them",
                  labels, static_cast<double>(unwatched));
  writer.AddGauge("proxy_clients", "Client connections currently open", labels,
                  static_cast<double>(clients));
  writer.AddGauge(
      "proxy_clients_pending",
      "Client connections currently in the pending queue, because no endpoint is usable "
      "or has room",
      labels, static_cast<double>(pending));
}

// A mode without a sample has no series, because a service has one mode.
void CollectFirstBytes(const ListenerStats& listener, MetricsWriter& writer) {
  for (size_t mode = 0; mode < kForwardingModes; ++mode) {
    LatencyHistogram::Values sum;
    for (const ListenerCell& cell : listener.cells()) sum += cell.first_byte[mode].Read();
    if (std::all_of(sum.counts.begin(), sum.counts.end(), [](uint64_t n) { return n == 0; })) {
      continue;
    }
    writer.AddHistogram(
        "proxy_first_byte_seconds",
        "Time to the first byte from the server in seconds: since the client's accept, or in "
        "message mode since the complete arrival of the request",
        {{"service", listener.service},
         {"mode", std::string(ModeName(static_cast<ForwardingMode>(mode)))}},
        sum);
  }
}

// Without a check there is no series.
void CollectChecks(const EndpointStats& endpoint, const MetricLabels& labels,
                   MetricsWriter& writer) {
  const EndpointHealth& health = endpoint.health;
  if (health.state() == EndpointHealth::State::kUnknown) return;
  writer.AddGauge("proxy_endpoint_check_healthy",
                  "1 while the endpoint is healthy by its health checks, else 0", labels,
                  health.unhealthy() ? 0 : 1);
  writer.AddCounter("proxy_endpoint_check_passes_total",
                    "Health checks that the endpoint's server passed", labels,
                    static_cast<double>(health.passed.Value()));
  writer.AddCounter("proxy_endpoint_check_failures_total",
                    "Health checks that the endpoint's server failed", labels,
                    static_cast<double>(health.failed.Value()));
  writer.AddCounter("proxy_endpoint_check_falls_total",
                    "Times that the endpoint became unhealthy by its health checks", labels,
                    static_cast<double>(health.falls.Value()));
  writer.AddGauge("proxy_endpoint_check_duration_seconds",
                  "Duration of the endpoint's last health check in seconds", labels,
                  static_cast<double>(health.last_duration_nanos.Value()) * 1e-9);
}

void CollectEndpoint(const EndpointStats& endpoint, MetricsWriter& writer) {
  const MetricLabels labels = {{"service", endpoint.service}, {"endpoint", endpoint.endpoint_id}};
  const auto counter = [&](const char* name, const char* help, CellCounter which) {
    writer.AddCounter(name, help, labels, Sum(endpoint, which));
  };
  counter("proxy_endpoint_flows_total", "Flows assigned to the endpoint; in message mode, requests",
          &EndpointCell::flows);
  counter("proxy_endpoint_connect_refused_total",
          "Upstream connects that the endpoint's server refused; each retry counts",
          &EndpointCell::connect_refused);
  counter("proxy_endpoint_connect_timeouts_total",
          "Upstream connects that the endpoint did not answer in time; each retry counts",
          &EndpointCell::connect_timeouts);
  counter("proxy_endpoint_resets_total", "Flows that the endpoint's server reset",
          &EndpointCell::resets);
  counter("proxy_endpoint_lost_flows_total",
          "Flows at the endpoint that were lost with their trunk or shared connection",
          &EndpointCell::trunk_losses);
  counter(
      "proxy_endpoint_unasked_replies_total",
      "Shared connections closed because the endpoint's server sent bytes that answer no request",
      &EndpointCell::unasked);
  counter("proxy_endpoint_one_way_requests_total",
          "Requests sent to the endpoint's server that have no reply: messages of one_way services "
          "and Modbus broadcasts, in message mode",
          &EndpointCell::one_way);
  counter(
      "proxy_endpoint_reply_timeouts_total",
      "Requests that the endpoint's server did not answer within reply_timeout, in message mode",
      &EndpointCell::reply_timeouts);
  counter("proxy_endpoint_answers_total",
          "Flows at the endpoint whose answer began; in message mode, requests",
          &EndpointCell::answered);
  counter("proxy_endpoint_unanswered_flows_total",
          "Flows that the endpoint's server ended in order after bytes of the client, without any "
          "of its own",
          &EndpointCell::unanswered);
  counter("proxy_endpoint_sent_bytes_total", "Bytes sent to the endpoint's server",
          &EndpointCell::bytes_to_server);
  counter("proxy_endpoint_received_bytes_total", "Bytes received from the endpoint's server",
          &EndpointCell::bytes_to_client);
  writer.AddGauge("proxy_endpoint_active_flows",
                  "Flows currently open at the endpoint; in message mode, requests in flight",
                  labels, Sum(endpoint, &EndpointCell::active));
  writer.AddGauge(
      "proxy_endpoint_load_flows",
      "Flows currently at the endpoint that count as load: bytes pass or an answer is awaited",
      labels, Sum(endpoint, &EndpointCell::load));
  if (const int64_t all = Heard(endpoint, &EndpointCell::server_active); all >= 0) {
    writer.AddGauge(
        "proxy_endpoint_server_load_streams",
        "Streams of all proxies that count as load at the endpoint's server, by the last in-band "
        "load report",
        labels, static_cast<double>(all));
  }
  if (const int64_t used = Heard(endpoint, &EndpointCell::server_utilization); used >= 0) {
    writer.AddGauge(
        "proxy_endpoint_server_utilization_ratio",
        "Utilization of the endpoint's server (1 is full), by the last in-band load report", labels,
        static_cast<double>(used) / 1000);
  }
  writer.AddGauge("proxy_endpoint_ejecting_workers",
                  "Workers that currently eject the endpoint because connects to it or its health "
                  "checks fail",
                  labels, Sum(endpoint, &EndpointCell::ejected));
  writer.AddGauge(
      "proxy_endpoint_full_workers",
      "Workers that have all streams of their trunks to the endpoint's agent in use, at "
      "the limits of streams and trunks",
      labels, Sum(endpoint, &EndpointCell::full));
  CollectChecks(endpoint, labels, writer);
}

void CollectReading(const char* scope, const std::optional<MemoryReading>& reading,
                    MetricsWriter& writer) {
  if (!reading) return;
  writer.AddGauge("proxy_memory_used_bytes", "Memory in use in bytes, as compared with the budget",
                  {{"scope", scope}}, static_cast<double>(reading->used_bytes));
  writer.AddGauge("proxy_memory_budget_bytes",
                  "Memory budget in bytes: at 95 % of it clients are reset, at 98 % no new clients "
                  "are accepted",
                  {{"scope", scope}}, static_cast<double>(reading->budget_bytes));
}

}  // namespace

void CollectMemory(const MemoryMeter& meter, const TrafficStats& stats, MetricsWriter& writer) {
  CollectReading("process", meter.OfProcess(stats.PipedBytes()), writer);
  CollectReading("control_group", meter.OfGroup(), writer);
}

void CollectTraffic(const TrafficStats& stats, MetricsWriter& writer) {
  CollectTrunks(stats, writer);
  CollectWorkers(stats, writer);
  CollectShared(stats, writer);
  CollectErrors(stats, writer);
  CollectShortages(stats, writer);
  for (const auto& listener : stats.Listeners()) {
    CollectListener(*listener, writer);
    CollectFirstBytes(*listener, writer);
  }
  for (const auto& endpoint : stats.Endpoints()) CollectEndpoint(*endpoint, writer);
}

}  // namespace trunkline
