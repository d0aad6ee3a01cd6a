// Publishes versioned snapshots of everything that proxies need; snapshot_delta.h computes the
// differences between them.
//
// Each version differs in content from the previous one, so an idle cluster sends nothing. The
// publisher keeps the last few versions as bases for deltas; a proxy with an older version gets the
// whole snapshot. No versions are queued: the newest replaces all earlier ones.
//
// Pure. The publisher is externally synchronized (by the control loop); snapshots are immutable and
// shared. Has no errors.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/balancing_policy.h"
#include "controller/core/service_spec.h"
#include "controller/core/stored_state.h"

namespace trunkline {

struct SnapshotVersion {
  uint64_t epoch = 0;
  uint64_t version = 0;
  friend auto operator<=>(const SnapshotVersion&, const SnapshotVersion&) = default;
};

struct SnapshotEndpoint {
  std::string endpoint_id;
  std::string address;
  double weight = 0;
  bool draining = false;
  double capacity = 1;
  friend bool operator==(const SnapshotEndpoint&, const SnapshotEndpoint&) = default;
};

// A service without its endpoints.
struct SnapshotSettings {
  std::string name;
  ForwardingMode mode = ForwardingMode::kTunnel;
  std::vector<std::string> listen;  // as in ServiceSpec
  FlowLimitSpec limits;
  std::string message_options;  // as in ServiceSpec
  ProxyProtocolSpec proxy_protocol;
  std::string health_check;  // as in ServiceSpec
  BalancingPolicy policy = BalancingPolicy::kAdaptive;
  friend bool operator==(const SnapshotSettings&, const SnapshotSettings&) = default;
};

struct SnapshotService : SnapshotSettings {
  // Sorted by endpoint id.
  std::vector<SnapshotEndpoint> endpoints;
  friend bool operator==(const SnapshotService&, const SnapshotService&) = default;
};

struct ClusterSnapshot {
  SnapshotVersion id;
  // Sorted by name; unchanged services are shared with earlier snapshots.
  std::vector<std::shared_ptr<const SnapshotService>> services;
};

// Returns the id of the first snapshot after a start. After an orderly stop the epoch continues.
// After a crash, proxies may hold versions that the state file does not know, so the epoch grows.
// Without a state file it is the wall clock in seconds, which exceeds all earlier epochs.
SnapshotVersion FirstVersion(const std::optional<StoredState>& stored, uint64_t unix_seconds);

class SnapshotPublisher {
 public:
  // A proxy that is at most this many versions behind gets a delta. Covers some seconds of a
  // cluster with frequent changes.
  static constexpr size_t kHistory = 16;

  // The first snapshot published is (epoch, first_version).
  SnapshotPublisher(uint64_t epoch, uint64_t first_version)
      : next_{epoch, first_version == 0 ? 1 : first_version} {}

  // `services` must be sorted by name. Returns true if they make a new version. Cheap for a service
  // that is the same object as before.
  bool Publish(std::vector<std::shared_ptr<const SnapshotService>> services);

  // Publishes the current content again in an epoch above `seen`, if a proxy holds `seen` and it is
  // newer than any version of this publisher. That happens when the state was lost and the clock
  // was set back.
  void RiseAbove(const SnapshotVersion& seen);

  // Returns null before the first Publish.
  const std::shared_ptr<const ClusterSnapshot>& current() const { return current_; }
  // Oldest first; includes the current one.
  const std::deque<std::shared_ptr<const ClusterSnapshot>>& history() const { return history_; }

 private:
  void Keep(std::shared_ptr<const ClusterSnapshot> snapshot);

  SnapshotVersion next_;
  std::shared_ptr<const ClusterSnapshot> current_;
  std::deque<std::shared_ptr<const ClusterSnapshot>> history_;
};

}  // namespace trunkline
