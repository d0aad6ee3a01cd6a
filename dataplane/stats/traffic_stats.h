// What workers count of the flows they carry, and what the controller and a scrape read.
//
// One cell for each (worker, endpoint) and each worker, written by that worker alone (see
// common/base/metrics.h). An endpoint's cells live as long as anybody holds them, so a flow that
// outlives its endpoint still has where to count. Thread-safe by that rule.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"
#include "common/trunk/trunk_counters.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/limits/source_table.h"
#include "dataplane/stats/shared_counters.h"

namespace trunkline {

struct alignas(64) EndpointCell {
  static constexpr int64_t kUnknown = -1;
  EndpointCell() {
    server_active.Set(kUnknown);
    server_utilization.Set(kUnknown);
  }

  Gauge active;              // flows open at the endpoint, or requests under way
  Gauge load;                // those of them that count as load
  Gauge server_active;       // what the agent said last: load of all proxies
  Gauge server_utilization;  // and thousandths; kUnknown where it says nothing
  Counter flows;             // given to it; requests, in message mode
  Counter connect_refused;   // its agent could not reach the server
  Counter resets;            // broken by the server
  Counter trunk_losses;      // flows that went down with their trunk or shared connection
  Counter bytes_to_server;
  Counter bytes_to_client;
  Counter connects;
  Counter connect_nanos;
  Gauge ejected;  // 1: left alone for a time
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
  // One worker's connections to the server in message and direct mode.
  const std::shared_ptr<ConnectionBudget>& budget(size_t worker) const { return budgets_[worker]; }

 private:
  std::vector<EndpointCell> cells_;
  std::vector<std::shared_ptr<ConnectionBudget>> budgets_;
};

struct alignas(64) ListenerCell {
  Gauge clients;
  Counter accepted;
  Counter pauses;  // the client limit or the file descriptors were reached
};

class ListenerStats {
 public:
  ListenerStats(std::string service, size_t workers)
      : service(std::move(service)), cells_(workers) {}

  ListenerCell& cell(size_t worker) { return cells_[worker]; }
  const std::vector<ListenerCell>& cells() const { return cells_; }

  const std::string service;
  // Clients by their address, where that is limited.
  const std::shared_ptr<SourceTable> sources = std::make_shared<SourceTable>();

 private:
  std::vector<ListenerCell> cells_;
};

struct alignas(64) WorkerStats {
  // The first line of the cache: what all workers look at before they take a client.
  Gauge clients;
  Gauge reserved_sockets;    // for connections that clients of this worker may ask for
  Gauge direct_connections;  // to servers, of one client each
  Gauge shared_connections;
  Gauge trunks;
  Gauge sockets_short;               // 1: there are no descriptors or no memory for a connection
  Gauge to_client_buffered_bytes;    // that clients have not taken yet
  Gauge from_client_buffered_bytes;  // of clients that could not go on yet
  Gauge piped_bytes;                 // of both, what is in pipes: not in our memory
  Gauge memory_full;                 // 1: takes nobody, because memory is short
  Counter dials;
  Counter dial_failures;
  Counter trunks_up;         // dials whose agent has spoken HTTP/2
  Gauge load_subscriptions;  // trunks whose agent was asked for its load
  Counter inband_reports;
  Counter load_faults;
  Counter retries;
  Counter socket_shortages;  // connects not made because this machine had no socket for them
  Counter port_shortages;    // or no port toward that server
  // Flows that failed, by cause.
  Counter no_endpoint;
  Counter no_socket;  // no endpoint could be asked because of such a shortage
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
  Counter shed;                   // because memory was short
  LatencyHistogram pick_latency;  // one pick in 64
  LatencyHistogram connect_latency;
  LatencyHistogram loop_passes;  // each pass of the worker's event loop
  TrunkCounters trunk;
  SharedCounters shared;
};

// All of one proxy.
class TrafficStats {
 public:
  explicit TrafficStats(size_t workers) : workers_(workers) {}

  WorkerStats& worker(size_t i) { return workers_[i]; }
  const std::vector<WorkerStats>& workers() const { return workers_; }

  // The endpoint's cells, made when it is new. They stay while somebody else holds them.
  std::shared_ptr<EndpointStats> Endpoint(const std::string& service,
                                          const std::string& endpoint_id);
  std::shared_ptr<ListenerStats> Listener(const std::string& service);
  // Those that are held by somebody.
  std::vector<std::shared_ptr<EndpointStats>> Endpoints() const;
  std::vector<std::shared_ptr<ListenerStats>> Listeners() const;
  // What is in pipes, of all workers.
  int64_t PipedBytes() const;
  // Clients of all workers.
  int64_t Clients() const;
  // What of all workers decides whether another client may come.
  struct Occupancy {
    int64_t clients = 0;
    int64_t sockets = 0;  // of clients, servers and agents
    int64_t reserved_sockets = 0;
    bool sockets_short = false;
  };
  Occupancy CountOccupancy() const;

 private:
  // Values that others hold, by name.
  template <typename K, typename V>
  struct Registry {
    using Key = K;
    using Value = V;
    static constexpr size_t kLeastSweep = 64;
    std::map<Key, std::weak_ptr<Value>> values;
    size_t sweep_at = kLeastSweep;  // entries at which dead ones are dropped
  };

  std::vector<WorkerStats> workers_;
  mutable absl::Mutex mutex_;
  Registry<std::pair<std::string, std::string>, EndpointStats> endpoints_ ABSL_GUARDED_BY(mutex_);
  Registry<std::string, ListenerStats> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
