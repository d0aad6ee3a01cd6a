#include "agent/trunk/trunk_server.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/trunk_worker.h"
#include "common/base/trunk_counters.h"
#include "common/base/unique_fd.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"

namespace trunkline {

absl::StatusOr<std::unique_ptr<TrunkServer>> TrunkServer::Start(const Options& options,
                                                                TrafficTable& traffic) {
  absl::StatusOr<std::vector<UniqueFd>> listeners =
      ListenOnShared(options.listen, traffic.workers());
  if (!listeners.ok()) return listeners.status();
  auto server = absl::WrapUnique(new TrunkServer(options, traffic));
  server->port_ = BoundPort(listeners->front().get());
  for (size_t i = 0; i < listeners->size(); ++i) {
    const TrunkWorker::Options worker = {.index = i,
                                         .max_streams = options.max_streams,
                                         .connect_timeout = options.connect_timeout,
                                         .tls = options.tls.get(),
                                         .tls_log = &server->tls_log_};
    server->workers_.push_back(std::make_unique<TrunkWorker>(
        worker, std::move((*listeners)[i]), server->services_, server->targets_, traffic));
  }
  return server;
}

TrunkServer::TrunkServer(const Options& options, TrafficTable& traffic)
    : services_(options.services), tls_(options.tls), traffic_(traffic) {
  for (const LocalService& service : services_) {
    targets_.push_back(
        [known = KnownAddresses(service.target), target = service.target, lookup = options.lookup] {
          return known != nullptr ? known : lookup(target);
        });
  }
}

TrunkServer::~TrunkServer() = default;

void TrunkServer::Drain(absl::Duration timeout) {
  for (const auto& worker : workers_) {
    worker->Drain([this] {
      const std::lock_guard lock(mutex_);
      ++drained_workers_;
      worker_drained_.notify_one();
    });
  }
  {
    std::unique_lock lock(mutex_);
    const bool drained =
        worker_drained_.wait_for(lock, absl::ToChronoMilliseconds(timeout),
                                 [this] { return drained_workers_ == workers_.size(); });
    if (drained) return;
  }
  uint64_t active = 0;
  for (size_t i = 0; i < traffic_.services(); ++i) active += traffic_.Totals(i).active_streams;
  if (active == 0) return;
  LogWarn("{} streams did not end within the drain timeout of {}; resetting them", active,
          absl::FormatDuration(timeout));
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
  writer.AddGauge("agent_trunks", "Trunks currently open", {}, static_cast<double>(trunks));
  counter("agent_trunks_accepted_total", "Trunks accepted", accepted);
  counter("agent_trunk_read_bytes_total", "Bytes read from trunks", sum.bytes_read.Value());
  counter("agent_trunk_written_bytes_total", "Bytes written to trunks", sum.bytes_written.Value());
  counter("agent_trunk_ping_timeouts_total",
          "Trunks closed because the proxy did not answer a PING", sum.ping_timeouts.Value());
  counter("agent_trunk_protocol_errors_total", "Trunks closed because the proxy violated HTTP/2",
          sum.protocol_errors.Value());
  counter("agent_trunk_tls_failures_total",
          "Trunks that failed because of TLS: a handshake failed, or only one end uses it",
          sum.tls_failures.Value());
  writer.AddGauge("agent_inband_subscribers", "Trunks currently subscribed to in-band load reports",
                  {}, static_cast<double>(load_streams));
  counter("agent_inband_reports_total", "In-band load reports sent, one per service and subscriber",
          inband_reports);
  counter("agent_unknown_service_total",
          "Streams refused because they named a service that is not configured", unknown);
}

}  // namespace trunkline
