// Records the proxies and their traffic reports, for operators and metrics; weights do not depend
// on it.
//
// A proxy stays listed for kKeepAfterDisconnect after its stream ends, so that operators see its
// loss. The table holds up to kMaxProxies: a new proxy replaces the one that has been gone longest,
// and is not listed if all are connected. Thread-safe; takes `now`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"

namespace trunkline {

struct ProxyTraffic {
  // The time that the counts cover.
  double seconds = 0;
  uint32_t clients = 0;
  uint32_t trunks = 0;
  double flows_per_second = 0;
  struct Endpoint {
    EndpointKey key;
    uint64_t errors = 0;
    bool ejected = false;
    std::optional<bool> healthy = std::nullopt;  // by the proxy's health checks
    // As in v1::EndpointTraffic.
    uint64_t served = 0;
    uint64_t unanswered = 0;
    uint64_t bytes = 0;
    uint32_t load = 0;
    std::optional<absl::Duration> first_byte = std::nullopt;
  };
  // In a ProxyRecord, only those that the proxy ejects.
  std::vector<Endpoint> endpoints;
  // Services whose listeners the proxy cannot open, with the reasons; empty if it can open all.
  std::string listeners_missing;
  // Services that the proxy cannot use, with the reasons; empty if it can use all.
  std::string services_refused;
};

struct ProxyRecord {
  std::string proxy_id;
  std::string version;
  uint32_t workers = 0;
  bool connected = false;
  SnapshotVersion acked;
  // The error of the last NACK; empty after the next ACK.
  std::string last_error;
  MonotonicTime last_seen;
  ProxyTraffic traffic;
};

// The reports of all proxies about one endpoint.
struct EndpointVerdict {
  uint64_t errors = 0;  // since the start of the controller
  int ejected_by = 0;   // number of connected proxies that eject it
  int checked_by = 0;   // number of connected proxies that have checked its health
  int healthy_by = 0;   // number of those that find it healthy
};

// All proxies that check the health of an endpoint began to agree that it is unhealthy, or no
// longer do.
struct AgreedHealth {
  EndpointKey key;
  bool unhealthy = false;
  int checked_by = 0;  // 0 if no proxy checks it any more
  int healthy_by = 0;
};

class ProxyTable {
 public:
  static constexpr size_t kMaxProxies = 1000;
  static constexpr absl::Duration kKeepAfterDisconnect = absl::Minutes(5);
  // Bounds the endpoints with error counts.
  static constexpr size_t kMaxEndpoints = kMaxClusterEndpoints;
  // Returns true for an endpoint that the controller knows.
  using Knows = std::function<bool(const EndpointKey&)>;

  void Connect(const std::string& proxy_id, const std::string& version, uint32_t workers,
               SnapshotVersion have, MonotonicTime now);
  void Disconnect(const std::string& proxy_id, MonotonicTime now);
  void Acked(const std::string& proxy_id, SnapshotVersion have, const std::string& error,
             MonotonicTime now);
  // Changes that a traffic report makes.
  struct TrafficChanges {
    bool services_refused = false;  // the services that the proxy refuses have changed
    std::vector<AgreedHealth> agreed;
    // The report without the endpoints that the controller does not know.
    ProxyTraffic known;
  };
  // Ignores endpoints that the controller does not know, whose names a proxy may invent.
  TrafficChanges Traffic(const std::string& proxy_id, ProxyTraffic traffic, const Knows& knows,
                         MonotonicTime now);

  // Returns the proxies sorted by id.
  std::vector<ProxyRecord> List(MonotonicTime now);
  std::map<EndpointKey, EndpointVerdict> Verdicts() const;
  size_t connected() const;
  uint64_t nacks() const;

 private:
  struct Health {
    int checked_by = 0;
    int healthy_by = 0;
  };
  using Healths = std::map<EndpointKey, Health>;
  // One proxy's contribution; small, because a proxy may check as many endpoints as there are.
  using Checked = std::vector<std::pair<Healths::iterator, bool>>;

  // Replaces what the proxy contributed to healths_.
  void CountHealth(const std::string& proxy_id,
                   const std::vector<ProxyTraffic::Endpoint>& endpoints)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns what changed in agreed_unhealthy_ among `endpoints`, of a report that was counted.
  std::vector<AgreedHealth> CompareHealth(const std::vector<ProxyTraffic::Endpoint>& endpoints,
                                          const Knows& knows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ProxyRecord* Find(const std::string& proxy_id, MonotonicTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, ProxyRecord> proxies_ ABSL_GUARDED_BY(mutex_);
  std::map<EndpointKey, uint64_t> errors_ ABSL_GUARDED_BY(mutex_);
  Healths healths_ ABSL_GUARDED_BY(mutex_);
  // Endpoints that all proxies which check them found unhealthy, by the last report about each.
  std::set<EndpointKey> agreed_unhealthy_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Checked> checked_ ABSL_GUARDED_BY(mutex_);  // by connected proxy
  uint64_t nacks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace trunkline
