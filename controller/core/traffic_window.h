// Sums the traffic reports of all proxies over the last seconds, by endpoint.
//
// Proxies see the same quantities in every forwarding mode, and more than an agent does: what was
// served, what failed, how long clients waited. Their reports cover different seconds, so each one
// is spread over the buckets of the time that it covers. A measurement leaves out the last second,
// about which not all proxies have reported yet.
//
// Pure: takes `now`, which must not go backwards. Externally synchronized (by the control loop).
// Holds kBuckets sums for each endpoint that had traffic within the window.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"

namespace trunkline {

// Means over a measurement.
struct EndpointTraffic {
  double served_per_second = 0;
  double errors_per_second = 0;
  double unanswered_per_second = 0;
  double bytes_per_second = 0;
  // Flows or requests in flight that count as load.
  double in_flight = 0;
  // Mean time until an answer began, over this many answers; unset without any.
  std::optional<absl::Duration> first_byte;
  double answers = 0;
};

class TrafficWindow {
 public:
  static constexpr absl::Duration kBucket = absl::Milliseconds(250);
  // A measurement leaves out the newest buckets, up to a second, and covers three seconds.
  static constexpr int64_t kLeftOut = 4;
  static constexpr int64_t kMeasured = 12;
  // Without a report for this long, nothing is known.
  static constexpr absl::Duration kOldest = absl::Seconds(4);

  // Adds a report that arrived now and covers `traffic.seconds` until now.
  void Add(const ProxyTraffic& traffic, MonotonicTime now);

  // Returns true if a proxy has reported within kOldest.
  bool known(MonotonicTime now) const { return now - reported_at_ <= kOldest; }
  // Returns zeros for an endpoint without traffic.
  EndpointTraffic Measure(const EndpointKey& key, MonotonicTime now) const;

  // Forgets endpoints without traffic; call now and then.
  void Sweep(MonotonicTime now);
  size_t size() const { return endpoints_.size(); }

 private:
  struct Sums {
    double served = 0;
    double errors = 0;
    double unanswered = 0;
    double bytes = 0;
    double flow_seconds = 0;
    double answered = 0;
    double wait_seconds = 0;  // until answers began
  };
  static constexpr int64_t kBuckets = kLeftOut + kMeasured + 1;  // and the one that fills

  struct Ring {
    int64_t newest = 0;  // number of the newest bucket
    std::array<Sums, kBuckets> buckets;

    Sums& at(int64_t number) { return buckets[static_cast<size_t>(number % kBuckets)]; }
    const Sums& at(int64_t number) const { return buckets[static_cast<size_t>(number % kBuckets)]; }
    // Empties the buckets that begin.
    void Advance(int64_t number);
  };

  static int64_t BucketAt(MonotonicTime time);
  static void AddTo(Sums& sums, const Sums& part, double share);

  absl::flat_hash_map<EndpointKey, Ring> endpoints_;
  MonotonicTime reported_at_;
};

}  // namespace trunkline
