// Traffic counters: workers count, the traffic report and a metrics scrape read.
//
// There is one cell per worker and per (worker, endpoint), written by that worker alone (see
// common/base/metrics.h), which makes this thread-safe. An endpoint's cells live as long as any
// reference to them, so that a flow that outlives its endpoint can still count.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/forwarding_mode.h"
#include "common/base/metrics.h"
#include "common/base/trunk_counters.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/limits/source_table.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/stats/reachability.h"
#include "dataplane/stats/shared_counters.h"

namespace trunkline {

struct alignas(64) EndpointCell {
  static constexpr int64_t kUnknown = -1;
  EndpointCell() {
    server_active.Set(kUnknown);
    server_utilization.Set(kUnknown);
  }

  Gauge active;              // flows open at the endpoint, or requests in flight
  Gauge load;                // flows or requests among them that count as load
  Gauge server_active;       // load from all proxies, by the last in-band load report
  Gauge server_utilization;  // in thousandths, by the same report; kUnknown without one
  Counter flows;             // flows assigned to it; requests, in message mode
  Counter connect_refused;   // connects that its server refused or its agent could not make
  Counter connect_timeouts;  // connects that were not answered in time
  Counter resets;            // flows that the server reset
  Counter trunk_losses;      // flows lost with their trunk or shared connection
  Counter unasked;           // shared connections closed because of bytes that answer no request
  Counter one_way;           // requests that have no reply, or need not have one
  Counter reply_timeouts;    // requests that got no reply in time
  Counter answered;          // flows or requests whose answer began
  Counter first_byte_nanos;  // until then, summed over them
  Counter unanswered;        // flows that ended in order after bytes of the client alone
  Counter bytes_to_server;
  Counter bytes_to_client;
  Counter connects;
  Counter connect_nanos;
  Gauge ejected;  // 1 while the endpoint is ejected
  Gauge full;     // 1 while all streams of the worker's trunks to its agent are in use
};

class EndpointStats {
 public:
  EndpointStats(std::string service, std::string endpoint_id, size_t workers)
      : service(std::move(service)), endpoint_id(std::move(endpoint_id)), cells_(workers) {
    for (size_t i = 0; i < workers; ++i) budgets_.push_back(std::make_shared<ConnectionBudget>());
  }

  EndpointCell& cell(size_t worker) { return cells_[worker]; }
  const std::vector<EndpointCell>& cells() const { return cells_; }

  const std::string service;
  const std::string endpoint_id;
  Reachability reachability;
  EndpointHealth health;
  // Limits one worker's connections to the server in message and direct mode.
  const std::shared_ptr<ConnectionBudget>& budget(size_t worker) const { return budgets_[worker]; }

 private:
  std::vector<EndpointCell> cells_;
  std::vector<std::shared_ptr<ConnectionBudget>> budgets_;
};

// The padding keeps the histograms out of the first cache line.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct alignas(64) ListenerCell {
  Gauge clients;
  Gauge pending;  // clients in the pending queue
  Counter accepted;
  Counter pauses;         // accepting stopped at the client, descriptor or memory limit
  Gauge unwatched;        // sockets that epoll cannot watch
  Counter auth_refusals;  // requests of clients without the service's credential
  // Time to the first byte of the server, by ForwardingMode; see ServiceRouter::OnFirstByte. Not in
  // the cache line above, which all workers read before each accept.
  alignas(64) std::array<LatencyHistogram, kForwardingModes> first_byte;
};

class ListenerStats {
 public:
  ListenerStats(std::string service, size_t workers)
      : service(std::move(service)), cells_(workers) {}

  ListenerCell& cell(size_t worker) { return cells_[worker]; }
  const std::vector<ListenerCell>& cells() const { return cells_; }

  const std::string service;
  // Client counts per source address, used if the service limits them.
  const std::shared_ptr<SourceTable> sources = std::make_shared<SourceTable>();

 private:
  std::vector<ListenerCell> cells_;
};

struct alignas(64) WorkerStats {
  // The first cache line: read by all workers before each accept.
  Gauge clients;
  Gauge reserved_sockets;    // for upstream connections that this worker's clients may need
  Gauge direct_connections;  // upstream connections that serve one client each
  Gauge shared_connections;
  Gauge trunks;
  Gauge sockets_short;             // 1: no descriptor or memory is left for an upstream connection
  Gauge to_client_buffered_bytes;  // bytes that clients have not read yet
  Gauge from_client_buffered_bytes;  // bytes from clients that could not be forwarded yet
  Gauge piped_bytes;   // part of both that is in pipes, so not in this process's memory
  Gauge memory_full;   // 1: accepts no clients because memory is short
  Gauge memory_short;  // 1: buffers must not grow any more
  Counter dials;
  Counter dial_failures;
  Counter trunks_up;         // dials that completed the HTTP/2 handshake
  Gauge load_subscriptions;  // trunks subscribed to in-band load reports
  Counter inband_reports;
  Counter load_faults;
  Counter retries;
  Counter socket_shortages;  // connects that failed for lack of a socket on this machine
  Counter port_shortages;    // connects that failed for lack of a local port
  // Flows that failed, by cause.
  Counter no_endpoint;
  Counter no_socket;  // no endpoint could be tried because of such a shortage
  Counter connect_refused;
  Counter server_reset;
  Counter trunk_lost;
  Counter connection_lost;
  Counter client_reset;
  Counter timeouts;
  Counter shutdowns;
  Counter bad_requests;
  Counter slow_readers;
  Counter source_limited;
  Counter bad_headers;
  Counter shed;                   // load shedding
  LatencyHistogram pick_latency;  // one pick in 64
  LatencyHistogram connect_latency;
  LatencyHistogram loop_passes;  // one sample per pass of the worker's event loop
  Gauge check_connections;       // connections of health checks
  Counter checks_postponed;      // health checks that waited for a descriptor
  TrunkCounters trunk;
  SharedCounters shared;
};

// The counters of one proxy.
class TrafficStats {
 public:
  explicit TrafficStats(size_t workers) : workers_(workers) {}

  WorkerStats& worker(size_t i) { return workers_[i]; }
  const std::vector<WorkerStats>& workers() const { return workers_; }

  // Returns the endpoint's cells, and makes them if it is new. They exist while a caller holds
  // them.
  std::shared_ptr<EndpointStats> Endpoint(const std::string& service,
                                          const std::string& endpoint_id);
  std::shared_ptr<ListenerStats> Listener(const std::string& service);
  // Return the cells that a caller still holds.
  std::vector<std::shared_ptr<EndpointStats>> Endpoints() const;
  std::vector<std::shared_ptr<ListenerStats>> Listeners() const;
  // Returns the bytes that all workers have in pipes.
  int64_t PipedBytes() const;
  // Returns the clients of all workers.
  int64_t Clients() const;
  // The totals over all workers that decide whether another client is accepted.
  struct Occupancy {
    int64_t clients = 0;
    int64_t sockets = 0;  // to clients, servers and agents
    int64_t reserved_sockets = 0;
    bool sockets_short = false;
  };
  Occupancy CountOccupancy() const;

 private:
  // Weak references by name.
  template <typename K, typename V>
  struct Registry {
    using Key = K;
    using Value = V;
    static constexpr size_t kLeastSweep = 64;
    std::map<Key, std::weak_ptr<Value>> values;
    size_t sweep_at = kLeastSweep;  // size at which expired entries are dropped
  };

  std::vector<WorkerStats> workers_;
  mutable absl::Mutex mutex_;
  Registry<std::pair<std::string, std::string>, EndpointStats> endpoints_ ABSL_GUARDED_BY(mutex_);
  Registry<std::string, ListenerStats> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
