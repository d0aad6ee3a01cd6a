// The clock of a simulation: runs events in the order of their times, and events of one time in the
// order in which they were added, so that a run repeats to the last byte.
//
// Externally synchronized. Handlers outlive the queue's last Run.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/clock.h"

namespace trunkline::sim {

// Times are nanoseconds since the start of the simulation.
using SimTime = int64_t;
constexpr SimTime kSecond = 1'000'000'000;
constexpr SimTime kMillisecond = 1'000'000;

inline double Seconds(SimTime time) { return static_cast<double>(time) * 1e-9; }
inline SimTime FromSeconds(double seconds) { return static_cast<SimTime>(seconds * 1e9); }
// The production code's clock. Its zero means "never", so a simulation starts later than that.
inline MonotonicTime Monotonic(SimTime time) {
  return MonotonicTime::FromNanos(1000 * kSecond + time);
}

class EventHandler {
 public:
  virtual ~EventHandler() = default;
  // `kind` and `value` are those of the Add call.
  virtual void OnEvent(uint32_t kind, uint64_t value) = 0;
};

class EventQueue {
 public:
  SimTime now() const { return now_; }
  MonotonicTime monotonic() const { return Monotonic(now_); }

  // An event of the past runs now.
  void Add(SimTime at, EventHandler& handler, uint32_t kind, uint64_t value = 0);
  // Runs all events before `end`, and leaves the clock there.
  void Run(SimTime end);
  uint64_t events_run() const { return events_run_; }

 private:
  struct Event {
    SimTime at;
    uint64_t number;
    EventHandler* handler;
    uint32_t kind;
    uint64_t value;
  };
  static bool Later(const Event& a, const Event& b) {
    return a.at != b.at ? a.at > b.at : a.number > b.number;
  }

  SimTime now_ = 0;
  uint64_t added_ = 0;
  uint64_t events_run_ = 0;
  std::vector<Event> heap_;
};

}  // namespace trunkline::sim
