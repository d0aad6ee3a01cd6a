#include "agent/trunk/trunk_server.h"

#include <thread>

#include "absl/memory/memory.h"
#include "common/base/clock.h"
#include "common/observe/log.h"

namespace trunkline {
namespace {

constexpr absl::Duration kDrainPoll = absl::Milliseconds(20);
// Peers must have had the time to hear that no more streams are wanted.
constexpr absl::Duration kShortestDrain = absl::Milliseconds(500);

}  // namespace

absl::StatusOr<std::unique_ptr<TrunkServer>> TrunkServer::Start(const Options& options,
                                                                TrafficTable& traffic) {
  std::vector<SocketAddress> targets;
  for (const LocalService& service : options.services) {
    absl::StatusOr<SocketAddress> target = ResolveAddress(service.target);
    if (!target.ok()) return target.status();
    targets.push_back(*target);
  }
  absl::StatusOr<std::vector<UniqueFd>> listeners =
      ListenOnShared(options.listen, traffic.workers());
  if (!listeners.ok()) return listeners.status();
  auto server =
      absl::WrapUnique(new TrunkServer(options.services, std::move(targets), options.tls, traffic));
  server->port_ = BoundPort(listeners->front().get());
  for (size_t i = 0; i < listeners->size(); ++i) {
    const TrunkWorker::Options worker = {.index = i,
                                         .max_streams = options.max_streams,
                                         .connect_timeout = options.connect_timeout,
                                         .tls = options.tls.get()};
    server->workers_.push_back(std::make_unique<TrunkWorker>(
        worker, std::move((*listeners)[i]), server->services_, server->targets_, traffic));
  }
  return server;
}

TrunkServer::TrunkServer(std::vector<LocalService> services, std::vector<SocketAddress> targets,
                         std::shared_ptr<const TrunkTls> tls, TrafficTable& traffic)
    : services_(std::move(services)),
      targets_(std::move(targets)),
      tls_(std::move(tls)),
      traffic_(traffic) {}

TrunkServer::~TrunkServer() = default;

void TrunkServer::Drain(absl::Duration timeout) {
  for (const auto& worker : workers_) worker->Drain();
  const auto active = [this] {
    uint64_t sum = 0;
    for (size_t i = 0; i < traffic_.services(); ++i) sum += traffic_.Totals(i).active_streams;
    return sum;
  };
  const MonotonicTime start = MonotonicNow();
  const auto shortest = std::min(timeout, kShortestDrain);
  while (MonotonicNow() < start + timeout && (active() > 0 || MonotonicNow() < start + shortest)) {
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kDrainPoll));
  }
  if (active() > 0) LogWarn("{} streams did not end within the drain time-out; reset", active());
}

void TrunkServer::Collect(MetricsWriter& writer) const {
  TrunkCounters sum;
  uint64_t accepted = 0;
  uint64_t unknown = 0;
  int64_t trunks = 0;
  int64_t load_streams = 0;
  uint64_t inband_reports = 0;
  for (const auto& worker : workers_) {
    const TrunkWorker::Counters& counters = worker->counters();
    accepted += counters.trunks_accepted.Value();
    unknown += counters.streams_unknown_service.Value();
    trunks += counters.trunks.Value();
    load_streams += counters.load_streams.Value();
    inband_reports += counters.inband_reports.Value();
    sum.bytes_read.Add(counters.trunk.bytes_read.Value());
    sum.bytes_written.Add(counters.trunk.bytes_written.Value());
    sum.ping_timeouts.Add(counters.trunk.ping_timeouts.Value());
    sum.protocol_errors.Add(counters.trunk.protocol_errors.Value());
    sum.tls_failures.Add(counters.trunk.tls_failures.Value());
  }
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    writer.AddCounter(name, help, {}, static_cast<double>(value));
  };
  writer.AddGauge("agent_trunks", "Trunks open", {}, static_cast<double>(trunks));
  counter("agent_trunks_accepted_total", "Trunks accepted", accepted);
  counter("agent_trunk_read_bytes_total", "Bytes read from trunks", sum.bytes_read.Value());
  counter("agent_trunk_written_bytes_total", "Bytes written to trunks", sum.bytes_written.Value());
  counter("agent_trunk_ping_timeouts_total", "Trunks given up for silence",
          sum.ping_timeouts.Value());
  counter("agent_trunk_protocol_errors_total", "Trunks that broke HTTP/2",
          sum.protocol_errors.Value());
  counter("agent_trunk_tls_failures_total", "TLS handshakes with proxies that failed",
          sum.tls_failures.Value());
  writer.AddGauge("agent_inband_subscribers", "Trunks on which proxies hear of the load", {},
                  static_cast<double>(load_streams));
  counter("agent_inband_reports_total", "Loads said on trunks, of one service each",
          inband_reports);
  counter("agent_unknown_service_total", "Streams to a service that is not configured", unknown);
}

}  // namespace trunkline
