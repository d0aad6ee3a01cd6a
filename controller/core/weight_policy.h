// From load to proposed weights: what each endpoint of one service should get, before any bound
// between endpoints.
//
//   adaptive     P * exp(theta) * memory * ramp          static   the operator's figure * ramp
//   round_robin  1 * ramp
//
// Memory is a barrier and not a term of load: half-full memory says nothing, nearly full memory
// ends in a kill. A ramp protects a cold server (caches, connection pools, just-in-time compilers)
// and advances only while the server keeps up; it is off when all are new, because then there is
// nobody else to carry the load. Drains, pins and unreachable servers are passed on as such:
// weight_limiter.h knows what they mean for the others.
//
// Pure; one object a service; externally synchronized (the control loop). Cannot fail.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/load_model.h"
#include "controller/core/service_spec.h"

namespace trunkline {

struct ProposedWeight {
  std::string endpoint_id;
  double base = 1;    // P*exp(theta), or what the policy says instead
  double memory = 1;  // barrier factor
  double slow_start = 1;
  double value = 1;  // base * memory * ramp
  // Administrative states; a drain wins over a pin.
  bool draining = false;
  std::optional<double> pin;
  // The local server takes connections; if not, the floor.
  bool reachable = true;
  // False for a stale endpoint: nobody knows that it could take more.
  bool may_rise = true;
};

class WeightPolicy {
 public:
  // Memory shares between which the factor falls from 1 to kMemoryFloor.
  static constexpr double kMemoryFree = 0.85;
  static constexpr double kMemoryFull = 0.97;
  static constexpr double kMemoryFloor = 0.05;
  static constexpr double kSlowStartFloor = 0.1;
  // A ramping endpoint busier than the mean by this much waits.
  static constexpr double kSlowStartMargin = 0.1;

  WeightPolicy(PolicyKind kind, absl::Duration slow_start) : kind_(kind), slow_start_(slow_start) {}

  void Restore(const std::string& endpoint_id, uint64_t incarnation,
               absl::Duration slow_start_progress, MonotonicTime now);

  std::vector<ProposedWeight> Tick(const std::vector<WeightedEndpoint>& endpoints,
                                   const LoadModel& model, MonotonicTime now);

  absl::Duration SlowStartProgress(const std::string& endpoint_id) const;
  static double MemoryFactor(double memory_utilization);

 private:
  struct SlowStart {
    uint64_t incarnation = 0;
    absl::Duration progress;
    // Time spent fresh in this incarnation.
    absl::Duration age;
    MonotonicTime ticked_at;
    bool begun = false;
  };

  void FollowMembership(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  // Has served for a whole slow_start, serves now and will go on.
  bool Established(const RegisteredEndpoint& endpoint) const;
  void Advance(const RegisteredEndpoint& endpoint, const LoadModel& model, MonotonicTime now);
  double SlowStartFactor(const std::string& endpoint_id) const;
  double Base(const RegisteredEndpoint& endpoint, const LoadEstimate& estimate) const;

  const PolicyKind kind_;
  const absl::Duration slow_start_;
  std::map<std::string, SlowStart> slow_starts_;
};

}  // namespace trunkline
