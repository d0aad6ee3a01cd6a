// The result of one endpoint's health checks: known to all workers of a proxy, to its traffic
// reports and to its metrics.
//
// One worker checks an endpoint and writes; any thread reads. Thread-safe and lock-free.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/base/metrics.h"

namespace trunkline {

class EndpointHealth {
 public:
  enum class State : uint8_t {
    kUnknown,  // not checked yet, or no longer
    kHealthy,
    kUnhealthy,
  };

  State state() const { return state_.load(std::memory_order_relaxed); }
  bool unhealthy() const { return state() == State::kUnhealthy; }
  void Set(State state) { state_.store(state, std::memory_order_relaxed); }

  Counter passed;             // checks that passed
  Counter failed;             // checks that failed
  Counter falls;              // times that the endpoint became unhealthy
  Gauge last_duration_nanos;  // of the last check

 private:
  std::atomic<State> state_ = State::kUnknown;
};

}  // namespace trunkline
