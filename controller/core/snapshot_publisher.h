// The newest immutable description of everything that proxies need, versioned, and the way from an
// older one.
//
// A version exists only where the content differs from the version before: a proxy that holds the
// newest version needs nothing, and an idle cluster sends nothing. The last few versions are kept
// so that a proxy that missed some gets what changed; one that missed more gets everything. There
// is no queue of versions to anyone: the latest wins.
//
// Pure; the publisher is externally synchronized (the control loop); snapshots are immutable and
// shared. Cannot fail.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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

struct SnapshotService {
  std::string name;
  ForwardingMode mode = ForwardingMode::kTunnel;
  std::string listen;
  FlowLimitSpec limits;
  std::string message_options;  // see ServiceSpec
  ProxyProtocolSpec proxy_protocol;
  // Sorted by endpoint id.
  std::vector<SnapshotEndpoint> endpoints;
  friend bool operator==(const SnapshotService&, const SnapshotService&) = default;
};

struct ClusterSnapshot {
  SnapshotVersion id;
  // Sorted by name; shared with earlier snapshots where nothing changed.
  std::vector<std::shared_ptr<const SnapshotService>> services;
};

struct ClusterDelta {
  SnapshotVersion base;
  SnapshotVersion id;
  std::vector<std::shared_ptr<const SnapshotService>> services;
  std::vector<std::string> removed_services;
};

ClusterDelta Diff(const ClusterSnapshot& base, const ClusterSnapshot& target);
// nullopt: the delta does not begin where `base` stands.
std::optional<ClusterSnapshot> Apply(const ClusterSnapshot& base, const ClusterDelta& delta);

// The id of the first snapshot after a start. After an orderly stop the epoch goes on. After a
// crash, proxies may hold versions that the state file does not know, so the epoch grows; without a
// state file it is the wall clock's seconds, which is larger than any before.
SnapshotVersion FirstVersion(const std::optional<StoredState>& stored, uint64_t unix_seconds);

class SnapshotPublisher {
 public:
  // Versions a proxy may be behind and still get a delta: some seconds of an unquiet cluster.
  static constexpr size_t kHistory = 16;

  // The first snapshot published is (epoch, first_version).
  SnapshotPublisher(uint64_t epoch, uint64_t first_version)
      : next_{epoch, first_version == 0 ? 1 : first_version} {}

  // `services` sorted by name. True: there is a new version.
  bool Publish(std::vector<SnapshotService> services);

  // Proxies hold `seen`, which is newer than anything of ours: our state was lost and the clock
  // that names epochs was set back. The current content is published again in an epoch above it.
  void RiseAbove(const SnapshotVersion& seen);

  // Null before the first Publish.
  const std::shared_ptr<const ClusterSnapshot>& current() const { return current_; }
  // Oldest first, the current one included.
  const std::deque<std::shared_ptr<const ClusterSnapshot>>& history() const { return history_; }

 private:
  void Keep(std::shared_ptr<const ClusterSnapshot> snapshot);

  SnapshotVersion next_;
  std::shared_ptr<const ClusterSnapshot> current_;
  std::deque<std::shared_ptr<const ClusterSnapshot>> history_;
};

}  // namespace trunkline
