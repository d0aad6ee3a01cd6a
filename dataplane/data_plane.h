// All workers of a proxy, and the listening sockets that they are given.
//
// A service whose listener cannot be opened, because another program has its port, keeps the one
// that it had and is tried again; everything else goes on without it.
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
#include "common/observe/metrics_page.h"
#include "dataplane/limits/descriptor_plan.h"
#include "dataplane/listen/handover.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/worker.h"

namespace trunkline {

class DataPlane {
 public:
  struct Options {
    size_t workers = 1;
    size_t max_clients = 50'000;
    DescriptorPlan descriptors;
    absl::Duration max_coalescing_delay = WakePacer::kMaxGap;  // see WakePacer; zero: none
    std::string bind_address;  // replaces the host of every listener; empty: as the snapshot says
    TrunkPool::Options trunks;
    uint64_t random_seed = 0;
    MemoryGuard::Source memory;
    int64_t memory_budget_bytes = 0;  // bounds the growth of windows; 0: does not
  };

  // `stats` has as many workers and outlives this. `inherited` are listeners that were opened
  // before this began.
  DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited = {});
  // Stops at once: open flows are reset.
  ~DataPlane();

  // Puts the table into service. Listening sockets stay, and pass to the service that now wants
  // their address; what no service wants is closed once all others are open.
  void Apply(const std::shared_ptr<const RoutingTable>& table);

  // Tries again to open the listeners that are missing.
  void RetryListeners();
  // Which services do not listen where the table says, and why; empty: all do.
  std::string MissingListeners() const;
  // Returns an empty string if every service listens and takes clients, otherwise why not.
  std::string NotReady() const;
  void Collect(MetricsWriter& writer) const;

  // Takes no new clients and waits until the last flow ended, at most for `timeout`.
  void Drain(absl::Duration timeout);

  // For a successor: what services are listened on, by names that it knows as well.
  ListeningSockets CopySockets() const;

  // "host:port" of each service that is listened for.
  std::map<std::string, std::string> Listening() const;

 private:
  struct OpenListener {
    Address wanted;                 // as the table has it
    std::string bound;              // the same, port 0 settled
    std::vector<UniqueFd> sockets;  // workers have copies of them
    bool served = false;            // false: no worker of ours has it yet
    uint16_t port() const;
  };
  using Listeners = std::map<std::string, OpenListener>;  // by service

  Address BindAddress(const EndpointSet& set) const;
  void MatchListeners() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KeepListeners(Listeners& before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PassListeners(Listeners& before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::map<std::string, std::string> OpenListeners(Listeners& before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Hold(const std::string& service, OpenListener open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AwaitEmpty(absl::Duration timeout);
  void Settle();
  void Distribute(const std::string& service, std::vector<UniqueFd> sockets);

  const Options options_;
  TrafficStats& stats_;
  std::vector<std::unique_ptr<Worker>> workers_;
  mutable absl::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  // By service: where it is to listen, with what it does, and why it does not.
  std::map<std::string, Address> asked_ ABSL_GUARDED_BY(mutex_);
  Listeners listeners_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> missing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
