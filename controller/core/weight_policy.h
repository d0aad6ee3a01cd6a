// Proposes a weight for each endpoint of one service from its load, before weight_limiter.h applies
// bounds between endpoints.
//
//   adaptive     P * exp(theta) * memory * slow_start
//   round_robin  1 * slow_start
//   others       the operator's figure * slow_start
//
// Memory is a barrier, not a measure of load: half-full memory is harmless, and nearly full memory
// ends with the server being killed. Slow start protects a cold server (caches, connection pools,
// just-in-time compilers) and advances only while the server keeps up. It is off if all endpoints
// are new, because no other endpoint could take the load. Drains, pins and unreachable servers pass
// through to weight_limiter.h, which decides their effect on the other endpoints.
//
// Pure; one object per service; externally synchronized (by the control loop). Has no errors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "controller/core/endpoint_table.h"
#include "controller/core/load_model.h"
#include "controller/core/service_spec.h"

namespace trunkline {

struct ProposedWeight {
  std::string endpoint_id;
  double base = 1;    // P*exp(theta), or the figure of another policy
  double memory = 1;  // falls as the memory fills
  double slow_start = 1;
  double value = 1;  // base * memory * slow_start
  // Administrative states; a drain overrides a pin.
  bool draining = false;
  std::optional<double> pin;
  // If false, the agent cannot connect to the server, which then gets the floor.
  bool reachable = true;
  // If false, the endpoint is stale, hotter or slower than the others, and gains no share.
  bool may_rise = true;
};

class WeightPolicy {
 public:
  // Memory utilizations between which the factor falls from 1 to kMemoryFloor.
  static constexpr double kMemoryFree = 0.85;
  static constexpr double kMemoryFull = 0.97;
  static constexpr double kMemoryFloor = 0.05;
  static_assert(kMemoryFree < kMemoryFull && kMemoryFloor > 0);
  static constexpr double kSlowStartFloor = 0.1;
  // Slow start pauses while the endpoint is busier than the median by this much.
  static constexpr double kSlowStartMargin = 0.1;

  WeightPolicy(BalancingPolicy kind, absl::Duration slow_start)
      : kind_(kind), slow_start_(slow_start) {}

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
    // Time in state kFresh in this incarnation.
    absl::Duration age;
    MonotonicTime ticked_at;
    bool begun = false;
  };

  void FollowMembership(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now);
  // Returns true for an endpoint that has finished slow start, serves now and is not draining.
  bool Established(const RegisteredEndpoint& endpoint, const SlowStart& slow_start) const;
  void Advance(const RegisteredEndpoint& endpoint, const LoadModel& model, MonotonicTime now,
               SlowStart& slow_start) const;
  double SlowStartFactor(const SlowStart& slow_start) const;
  double Base(const RegisteredEndpoint& endpoint, const EndpointEstimate& estimate) const;

  const BalancingPolicy kind_;
  const absl::Duration slow_start_;
  EndpointTable<SlowStart> slow_starts_;
};

}  // namespace trunkline
