// The pure stages in their order, for all services: reports, operators' words and time in;
// snapshots and reasons out.
//
//   endpoint_registry -> load_model -> weight_policy -> weight_limiter -> snapshot_publisher
//
// The production control loop and a simulator drive this very object; it knows no thread, no socket
// and no file. After a restart it starts from the stored state: the stored weights are published at
// once and held until reports are back.
//
// Pure: takes `now`, reads no clock. Externally synchronized. Errors are those of EndpointRegistry.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/service_spec.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "controller/core/weight_limiter.h"
#include "controller/core/weight_policy.h"

namespace trunkline {

// One endpoint with everything that made its weight; values of one tick.
struct EndpointReason {
  RegisteredEndpoint endpoint;
  LoadEstimate load;
  ProposedWeight proposed;
  // As published.
  double weight = 0;
  double share = 0;
  // Since the last report; unset: none yet.
  std::optional<absl::Duration> report_age;
};

struct ServiceReason {
  ServiceSpec spec;
  ServiceLoad load;
  double mean_proposed = 0;
  // Sorted by endpoint id.
  std::vector<EndpointReason> endpoints;
};

// Immutable once built: what queries answer from.
struct ControllerView {
  std::shared_ptr<const ClusterSnapshot> snapshot;
  // Oldest first, `snapshot` last: bases for deltas.
  std::deque<std::shared_ptr<const ClusterSnapshot>> history;
  // Sorted by name.
  std::vector<ServiceReason> services;
  size_t connected_agents = 0;
};

class ControlCore {
 public:
  struct Options {
    std::vector<ServiceSpec> services;
    absl::Duration report_interval = absl::Seconds(1);
    absl::Duration slow_start = absl::Seconds(30);
    // Of the first snapshot.
    SnapshotVersion first;
    std::optional<StoredState> stored;
  };

  // The first snapshot is published before this returns.
  ControlCore(const Options& options, MonotonicTime now);

  EndpointRegistry& registry() { return registry_; }
  const EndpointRegistry& registry() const { return registry_; }
  const SnapshotPublisher& publisher() const { return publisher_; }

  // Ages, learns, weighs, publishes. True: there is a new snapshot.
  bool Tick(MonotonicTime now);
  void RiseAbove(const SnapshotVersion& seen) { publisher_.RiseAbove(seen); }

  std::shared_ptr<const ControllerView> View(MonotonicTime now) const;
  // Without `orderly`, which only an orderly stop may say.
  StoredState Export() const;

 private:
  struct ServiceStages {
    ServiceSpec spec;
    LoadModel model;
    WeightPolicy policy;
    WeightLimiter limiter;
    std::vector<ProposedWeight> proposed;
    // What the last snapshot says, for the once-a-second rule of capacities.
    SnapshotService published;
    MonotonicTime described_at;
  };

  void Restore(const StoredState& stored, MonotonicTime now);
  void TickService(ServiceStages& stages, bool membership_changed, MonotonicTime now);
  SnapshotService Describe(const ServiceStages& stages) const;

  EndpointRegistry registry_;
  SnapshotPublisher publisher_;
  std::map<std::string, ServiceStages> stages_;
  uint64_t seen_generation_ = 0;
};

}  // namespace trunkline
