// Converts the balancing policy of configurations, snapshots and views. Thread-safe; keeps no
// state.
#pragma once

#include <optional>

#include "common/base/balancing_policy.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Returns nullopt for a policy that only newer programs know.
inline std::optional<BalancingPolicy> ReadPolicy(v1::BalancingPolicy policy) {
  switch (policy) {
    case v1::BALANCING_POLICY_UNSPECIFIED:
    case v1::BALANCING_POLICY_ADAPTIVE:
      return BalancingPolicy::kAdaptive;
    case v1::BALANCING_POLICY_STATIC:
      return BalancingPolicy::kStatic;
    case v1::BALANCING_POLICY_ROUND_ROBIN:
      return BalancingPolicy::kRoundRobin;
    case v1::BALANCING_POLICY_LEAST_REQUEST:
      return BalancingPolicy::kLeastRequest;
    case v1::BALANCING_POLICY_LEAST_TIME:
      return BalancingPolicy::kLeastTime;
    case v1::BALANCING_POLICY_RANDOM:
      return BalancingPolicy::kRandom;
    case v1::BALANCING_POLICY_MAGLEV:
      return BalancingPolicy::kMaglev;
    default:
      return std::nullopt;
  }
}

inline v1::BalancingPolicy WritePolicy(BalancingPolicy policy) {
  switch (policy) {
    case BalancingPolicy::kAdaptive:
      return v1::BALANCING_POLICY_ADAPTIVE;
    case BalancingPolicy::kStatic:
      return v1::BALANCING_POLICY_STATIC;
    case BalancingPolicy::kRoundRobin:
      return v1::BALANCING_POLICY_ROUND_ROBIN;
    case BalancingPolicy::kLeastRequest:
      return v1::BALANCING_POLICY_LEAST_REQUEST;
    case BalancingPolicy::kLeastTime:
      return v1::BALANCING_POLICY_LEAST_TIME;
    case BalancingPolicy::kRandom:
      return v1::BALANCING_POLICY_RANDOM;
    case BalancingPolicy::kMaglev:
      return v1::BALANCING_POLICY_MAGLEV;
  }
  return v1::BALANCING_POLICY_UNSPECIFIED;
}

}  // namespace trunkline
