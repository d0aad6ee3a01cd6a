// The proxies that are or were here lately, and what they say of the traffic they carry: for
// operators and metrics.
//
// It steers nothing. A proxy stays listed for kKeepAfterDisconnect, so that one that just vanished
// is seen as such. Thread-safe; takes `now`. Bounded by kMaxProxies: the longest gone makes room,
// and when all are connected a new one is not listed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"

namespace trunkline {

struct ProxyTraffic {
  uint32_t clients = 0;
  uint32_t trunks = 0;
  double flows_per_second = 0;
  struct Endpoint {
    EndpointKey key;
    uint64_t errors = 0;
    bool ejected = false;
  };
  std::vector<Endpoint> endpoints;
  // Why services have no listener there; empty: they have.
  std::string listeners_missing;
};

struct ProxyRecord {
  std::string proxy_id;
  std::string version;
  uint32_t workers = 0;
  bool connected = false;
  SnapshotVersion acked;
  // Of its last NACK; empty after the next ACK.
  std::string last_error;
  MonotonicTime last_seen;
  ProxyTraffic traffic;
};

// What the proxies together say of one endpoint.
struct EndpointVerdict {
  uint64_t errors = 0;  // since the controller's start
  int ejected_by = 0;   // connected proxies
};

class ProxyTable {
 public:
  static constexpr size_t kMaxProxies = 1000;
  static constexpr absl::Duration kKeepAfterDisconnect = absl::Minutes(5);
  // Endpoints whose errors are summed; as many as the registry holds.
  static constexpr size_t kMaxEndpoints = 20000;

  void Connect(const std::string& proxy_id, const std::string& version, uint32_t workers,
               SnapshotVersion have, MonotonicTime now);
  void Disconnect(const std::string& proxy_id, MonotonicTime now);
  void Acked(const std::string& proxy_id, SnapshotVersion have, const std::string& error,
             MonotonicTime now);
  void Traffic(const std::string& proxy_id, ProxyTraffic traffic, MonotonicTime now);

  // Sorted by id, without those gone for long.
  std::vector<ProxyRecord> List(MonotonicTime now);
  std::map<EndpointKey, EndpointVerdict> Verdicts() const;
  size_t connected() const;
  uint64_t nacks() const;

 private:
  void Forget(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ProxyRecord* Find(const std::string& proxy_id, MonotonicTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, ProxyRecord> proxies_ ABSL_GUARDED_BY(mutex_);
  std::map<EndpointKey, uint64_t> errors_ ABSL_GUARDED_BY(mutex_);
  uint64_t nacks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace trunkline
