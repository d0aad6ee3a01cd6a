// Checks that hold in every run of the production controller and pick, whatever happens to the
// cluster: bounds of weights, shares, no raise while stale, the sign rule, no starvation.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "controller/core/control_core.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"

namespace trunkline::sim {

class Checkers {
 public:
  static constexpr size_t kMaxListed = 20;
  // A server that is well gets a flow within this time if its weight promises kMinExpected.
  static constexpr SimTime kStarvation = 30 * kSecond;
  static constexpr double kMinExpected = 30;

  // `result` outlives the checkers and gets what they find.
  Checkers(EventQueue& queue, size_t servers, RunResult& result)
      : queue_(queue), result_(result), flows_(servers) {}

  // After each tick of the controller. A controller that starts again forgets the last weights.
  void OnTick(const ControlCore& core);
  // The same with a view of it.
  void Check(const ControllerView& view);
  void OnControllerLost() { before_.clear(); }
  // A flow was sent to the server, which is well or not.
  void OnFlow(size_t server) { ++flows_[server].now; }
  // Every kStarvation. `well[i]`: server i was well and in view of its proxies all the time.
  void CheckStarvation(const std::vector<bool>& well, const std::vector<double>& shares);

 private:
  struct Weight {
    std::string endpoint_id;
    double weight = 0;
    bool in_service = false;
    double share = 0;  // of those in service
  };
  struct Flows {
    uint64_t now = 0;
    uint64_t then = 0;
  };
  void Report(std::string text);
  void CheckBounds(const ServiceReason& service);
  void CheckMoves(const ServiceReason& service);
  void CheckMove(const EndpointReason& reason, const Weight& before, const Weight& now);

  EventQueue& queue_;
  RunResult& result_;
  std::vector<Flows> flows_;
  std::vector<Weight> before_;  // after the last tick
};

}  // namespace trunkline::sim
