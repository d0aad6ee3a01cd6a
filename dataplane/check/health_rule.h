// Derives an endpoint's health from its consecutive checks.
//
// The first check decides at once, so that a server that was down from the start is found in one
// interval. Later, `fall` failures in a row make a healthy endpoint unhealthy, and `rise` passes in
// a row make it healthy again.
//
// Pure. Externally synchronized.
#pragma once

#include <cstdint>

#include "dataplane/stats/endpoint_health.h"

namespace trunkline {

class HealthRule {
 public:
  using State = EndpointHealth::State;

  HealthRule(uint32_t rise, uint32_t fall) : rise_(rise), fall_(fall) {}

  // Takes new limits. The state stays, and so does the number of checks in a row.
  void SetLimits(uint32_t rise, uint32_t fall) {
    rise_ = rise;
    fall_ = fall;
  }

  State state() const { return state_; }
  // Records a check. Returns true if the state has changed.
  bool OnChecked(bool passed) {
    const State result = passed ? State::kHealthy : State::kUnhealthy;
    if (result == state_) {
      against_ = 0;
      return false;
    }
    const bool decides = state_ == State::kUnknown || ++against_ >= (passed ? rise_ : fall_);
    if (!decides) return false;
    state_ = result;
    against_ = 0;
    return true;
  }

 private:
  uint32_t rise_;
  uint32_t fall_;
  State state_ = State::kUnknown;
  uint32_t against_ = 0;  // consecutive results that contradict the state
};

}  // namespace trunkline
