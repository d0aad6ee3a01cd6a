#include "tests/sim/load_source.h"

#include <algorithm>
#include <cstdint>

#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

LoadSource::LoadSource(EventQueue& queue, Owner& owner, const Scenario& scenario, uint64_t seed)
    : queue_(queue),
      owner_(owner),
      scenario_(scenario),
      random_(SeedFor(seed, "clients")),
      load_(scenario.load),
      most_load_(scenario.load) {
  for (const Action& action : scenario.actions) {
    if (action.kind == ActionKind::kLoad) most_load_ = std::max(most_load_, action.value);
  }
  most_load_ *= std::max(1.0, scenario.burst.factor);
  const double requests = scenario.capacity() / scenario.cpu.Mean();
  const double short_flows = requests * (1 - scenario.long_flows.share);
  const double long_flows = requests * scenario.long_flows.share / scenario.long_flows.requests;
  flows_per_second_ = short_flows + long_flows;
  long_share_ = long_flows / flows_per_second_;
}

void LoadSource::Start() { ScheduleNext(); }

// Candidates come at the highest rate of the scenario; LoadNow decides which of them are.
void LoadSource::ScheduleNext() {
  const double gap = DrawExponential(1 / (flows_per_second_ * most_load_), random_);
  queue_.Add(queue_.now() + FromSeconds(gap), *this, 0);
}

double LoadSource::LoadNow() const {
  const Burst& burst = scenario_.burst;
  if (burst.every == 0) return load_;
  return queue_.now() % burst.every < burst.length ? load_ * burst.factor : load_;
}

void LoadSource::OnEvent(uint32_t, uint64_t) {
  const bool comes = random_.Uniform() * most_load_ < LoadNow();
  Arrival arrival;
  arrival.proxy = static_cast<uint32_t>(random_.Next() % static_cast<uint64_t>(scenario_.proxies));
  arrival.cpu = scenario_.cpu.Draw(random_);
  arrival.wait = scenario_.wait.Draw(random_);
  arrival.is_long = random_.Uniform() < long_share_;
  arrival.number = ++arrivals_;
  ScheduleNext();
  if (comes) owner_.OnArrival(arrival);
}

}  // namespace trunkline::sim
