// All workers of a proxy, and their listening sockets.
//
// An address that cannot be opened, because another program uses it, is retried and affects no
// other; ListenerSet has the rules.
//
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/observe/metrics_page.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/listen/inheritance.h"
#include "dataplane/listen/listener_set.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/worker.h"

namespace trunkline {

class DataPlane final : private ListenerSet::Workers {
 public:
  struct Options {
    size_t workers = 1;
    size_t max_clients = 50'000;
    DescriptorPlan descriptors;
    absl::Duration max_coalescing_delay = WakePacer::kMaxGap;  // see WakePacer; zero: no delay
    Keepalive keepalive;
    std::string bind_address;  // IP that replaces each listener's host; empty: the snapshot's hosts
    TrunkPool::Options trunks;
    uint64_t random_seed = 0;
    MemoryGuard::Source memory;
    std::shared_ptr<ConnectionLog> connection_log = {};  // null: off
    int64_t memory_budget_bytes = 0;  // bounds the growth of windows; 0: no bound
    bool hold = false;                // open no listener and accept nothing until StartAccepting
  };

  // `stats` has the same number of workers and outlives this. `inherited` are listening sockets
  // from a predecessor.
  DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited = {});
  // Stops at once and resets open flows. Waits for the connection log as long as
  // ConnectionLog::Flush does.
  ~DataPlane() override;

  // Puts the table into service. Existing listening sockets are reused and pass to the service that
  // now has their address; sockets without a service are closed after all others are open.
  void Apply(const std::shared_ptr<const RoutingTable>& table);

  // Tries again to open the listeners that are missing.
  void RetryListeners();
  // Returns the services that do not listen at all their addresses in the table, with the addresses
  // and why, or an empty string.
  std::string MissingListeners() const;
  // Returns an empty string if every service listens and clients are accepted, otherwise why not.
  std::string NotReady() const;
  // Returns faults with which the proxy is still ready: services whose clients wait for room.
  std::vector<std::string> Faults() const;
  void Collect(MetricsWriter& writer) const;

  // Returns false if there are inherited sockets and no service of the table listens at the address
  // of one. For a held data plane.
  bool UsesInherited() const;
  // Accept clients, or accept none and keep the sockets for another process, or for a new start.
  // After StopAccepting returned, no worker accepts.
  void StartAccepting();
  void StopAccepting();

  // Accepts no new clients, closes the sockets, and waits until the last flow ends, or until
  // `timeout` after accepting stopped. The last call.
  void Drain(absl::Duration timeout);

  // Returns copies of the listening sockets for a successor, under keys that both proxies derive.
  // RESOURCE_EXHAUSTED: no descriptors are left for all of them.
  absl::StatusOr<ListeningSockets> CopySockets() const;

  // Returns the bound "host:port"s of each service that listens.
  std::map<std::string, std::vector<std::string>> Listening() const;

 private:
  void Listen(const std::string& service, const std::string& address,
              std::vector<UniqueFd> sockets) override;
  void StopListening(const std::string& service, const std::string& address) override;
  void MatchListeners() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AwaitEmpty(absl::Duration timeout);
  void Settle();

  const Options options_;
  TrafficStats& stats_;
  std::vector<std::unique_ptr<Worker>> workers_;
  mutable absl::Mutex mutex_;
  bool accepting_ ABSL_GUARDED_BY(mutex_);
  MonotonicTime stopped_accepting_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  ListenerSet listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
