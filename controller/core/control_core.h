// Composes the pure stages for all services: turns load reports, operators' orders and time into
// snapshots and explanations.
//
//   endpoint_registry -> load_model -> weight_policy -> weight_limiter -> snapshot_publisher
//
// The control loop and the simulation tests drive the same object; it uses no threads, sockets or
// files. After a restart it publishes the stored weights at once and keeps them until reports
// arrive.
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
#include "controller/core/traffic_window.h"
#include "controller/core/weight_limiter.h"
#include "controller/core/weight_policy.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

// One endpoint with every term of its weight, as of one tick.
struct EndpointReason {
  RegisteredEndpoint endpoint;
  EndpointEstimate load;
  ProposedWeight proposed;
  // The published weight.
  double weight = 0;
  double share = 0;
  // Time since the last report; unset before the first.
  std::optional<absl::Duration> report_age;
};

struct ServiceReason {
  ServiceSpec spec;
  ServiceLoad load;
  double mean_proposed = 0;
  // Sorted by endpoint id.
  std::vector<EndpointReason> endpoints;
};

// The state that queries are answered from. Immutable once built.
struct ControllerView {
  std::shared_ptr<const ClusterSnapshot> snapshot;
  // Possible bases of deltas, oldest first; `snapshot` is the last.
  std::deque<std::shared_ptr<const ClusterSnapshot>> history;
  // Sorted by name.
  std::vector<ServiceReason> services;
  size_t connected_agents = 0;
  // Endpoints that connected agents announced and do not hold.
  size_t refused_endpoints = 0;
  // The controller has no stored state, and agents that were known before its start may be about to
  // announce themselves again: a proxy that holds a snapshot keeps it.
  bool settling = false;

  bool Knows(const EndpointKey& key) const;
};

class ControlCore {
 public:
  struct Options {
    std::vector<ServiceSpec> services;
    absl::Duration report_interval = absl::Seconds(1);
    absl::Duration slow_start = absl::Seconds(30);
    absl::Duration forget_after = EndpointRegistry::kForgetAfter;
    // Id of the first snapshot.
    SnapshotVersion first;
    std::optional<StoredState> stored;
    // How long the view says that the controller is settling if there is no stored state.
    absl::Duration agents_return;
  };
  // Enough for agents to notice an orderly restart of the controller and to announce themselves.
  static constexpr absl::Duration kAgentsReturn = absl::Seconds(3);

  // A learned capacity is published again once it differs by more than this ratio: a proxy uses it
  // only after a minute without its controller, and all capacities drift slowly.
  static constexpr double kCapacityRatio = 0.05;

  // Publishes the first snapshot.
  ControlCore(const Options& options, MonotonicTime now);

  EndpointRegistry& registry() { return registry_; }
  // Takes the traffic reports of proxies.
  TrafficWindow& traffic() { return traffic_; }
  const EndpointRegistry& registry() const { return registry_; }
  const SnapshotPublisher& publisher() const { return publisher_; }

  // Returns notices about the restored state for the log, one sentence each.
  const std::vector<std::string>& restore_notes() const { return restore_notes_; }

  // Runs all stages. Returns true if it published a new snapshot.
  bool Tick(MonotonicTime now);
  void RiseAbove(const SnapshotVersion& seen) { publisher_.RiseAbove(seen); }

  std::shared_ptr<const ControllerView> View(MonotonicTime now) const;
  // Leaves `orderly` false; only an orderly stop sets it.
  StoredState Export() const;

 private:
  struct ServiceStages {
    ServiceSpec spec;
    LoadModel model;
    WeightPolicy policy;
    WeightLimiter limiter;
    std::vector<ProposedWeight> proposed;
    // As in the last snapshot; changes of capacities alone are published once per kPublishInterval.
    std::shared_ptr<const SnapshotService> published = std::make_shared<const SnapshotService>();
    MonotonicTime described_at;
  };

  void Restore(const StoredState& stored, MonotonicTime now);
  // Returns the service's endpoints that proxies can reach, with what proxies see of them.
  std::vector<WeightedEndpoint> Weigh(const ServiceStages& stages, MonotonicTime now) const;
  void TickService(ServiceStages& stages, bool membership_changed, MonotonicTime now);
  // Describes the service after a tick with `weighted`.
  static SnapshotService Describe(const ServiceStages& stages,
                                  const std::vector<WeightedEndpoint>& weighted);
  // Returns the capacity to publish.
  static double HoldCapacity(double published, double capacity);

  EndpointRegistry registry_;
  TrafficWindow traffic_;
  SnapshotPublisher publisher_;
  std::map<std::string, ServiceStages> stages_;
  MonotonicTime settled_at_;
  uint64_t seen_generation_ = 0;
  std::vector<std::string> restore_notes_;
};

}  // namespace trunkline
