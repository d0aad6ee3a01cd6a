// All workers of a proxy, and the listening sockets that they are given.
//
// Thread-safe: Apply and Drain are called from one thread at a time (the subscriber, then main);
// the rest from any.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "dataplane/descriptor_plan.h"
#include "dataplane/endpoint_set.h"
#include "dataplane/handover.h"
#include "dataplane/traffic_stats.h"
#include "dataplane/worker.h"

namespace trunkline {

class DataPlane {
 public:
  struct Options {
    size_t workers = 1;
    size_t max_clients = 50'000;
    DescriptorPlan descriptors;
    absl::Duration max_gather = WakePacer::kMaxGap;  // see WakePacer; zero: none
    std::string bind_address;  // replaces the host of every listener; empty: as the snapshot says
    TrunkPool::Options trunks;
    uint64_t random_seed = 0;
    MemoryGuard::Source memory;
    int64_t memory_budget_bytes = 0;  // bounds the growth of windows; 0: does not
  };

  // `stats` has as many workers and outlives this. `inherited` are used for the services that they
  // are for, in place of new sockets.
  DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited = {});
  // Stops at once: open flows are reset.
  ~DataPlane();

  // Puts the table into service. On an error (a port is taken) nothing changed and the old table
  // goes on.
  absl::Status Apply(const std::shared_ptr<const RoutingTable>& table);

  // Takes no new clients and waits until the last flow ended, at most for `timeout`.
  void Drain(absl::Duration timeout);

  // For a successor: what services are listened on, by names that it knows as well.
  ListeningSockets CopySockets() const;

  // "host:port" of each service that is listened for.
  std::map<std::string, std::string> Listening() const;

 private:
  using Sockets = std::map<std::string, std::vector<UniqueFd>>;
  void Distribute(const std::string& service, std::vector<UniqueFd> sockets);
  Address BindAddress(const EndpointSet& set) const;
  absl::StatusOr<Sockets> OpenNewListeners(const RoutingTable& table);

  const Options options_;
  TrafficStats& stats_;
  std::vector<std::unique_ptr<Worker>> workers_;
  mutable absl::Mutex mutex_;
  // What is wanted (the key to "is it new?") and what was bound (port 0 settled), by service.
  std::map<std::string, std::string> wanted_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> bound_ ABSL_GUARDED_BY(mutex_);
  // By service: copies of what workers listen on, as long as they do.
  Sockets copies_ ABSL_GUARDED_BY(mutex_);
  ListeningSockets inherited_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
