// Open-loop clients: flows arrive at random, whatever becomes of earlier ones. The draws depend on
// the seed and the scenario alone, so that all pick rules get the same requests.
//
// Externally synchronized.
#pragma once

#include <cstdint>

#include "common/base/random.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

struct Arrival {
  uint32_t proxy = 0;
  double cpu = 0;  // of the first request
  double wait = 0;
  bool is_long = false;
  uint64_t number = 0;
};

class LoadSource final : private EventHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnArrival(const Arrival& arrival) = 0;
  };

  // All outlive the source.
  LoadSource(EventQueue& queue, Owner& owner, const Scenario& scenario, uint64_t seed);

  void Start();
  // The load, as a share of the capacity, from now on.
  void SetLoad(double load) { load_ = load; }

 private:
  void OnEvent(uint32_t kind, uint64_t value) override;
  void ScheduleNext();
  double LoadNow() const;

  EventQueue& queue_;
  Owner& owner_;
  const Scenario& scenario_;
  FastRandom random_;
  double load_;
  double most_load_;         // that the scenario has at any time
  double flows_per_second_;  // at a load of 1
  double long_share_;        // of the flows
  uint64_t arrivals_ = 0;
};

}  // namespace trunkline::sim
