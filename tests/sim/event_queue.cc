#include "tests/sim/event_queue.h"

#include <algorithm>
#include <cstdint>

namespace trunkline::sim {

void EventQueue::Add(SimTime at, EventHandler& handler, uint32_t kind, uint64_t value) {
  heap_.push_back({std::max(at, now_), added_++, &handler, kind, value});
  std::push_heap(heap_.begin(), heap_.end(), Later);
}

void EventQueue::Run(SimTime end) {
  while (!heap_.empty() && heap_.front().at < end) {
    const Event event = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    heap_.pop_back();
    now_ = event.at;
    ++events_run_;
    event.handler->OnEvent(event.kind, event.value);
  }
  now_ = std::max(now_, end);
}

}  // namespace trunkline::sim
