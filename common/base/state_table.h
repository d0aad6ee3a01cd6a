// A state machine as a table of rows (state, event, next state), used by the class whose life cycle
// it is and by the test that compares it with that class's LIFECYCLE page.
//
// The compiler expands the rows into a dense array, so a transition on a worker's path is one load.
// A pair of state and event without a row is a bug and aborts the process. Immutable and
// thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "common/base/check.h"

namespace trunkline {

// `State` and `Event` are enums that count from 0, with kStates and kEvents enumerators; the
// compiler rejects a row with an enumerator beyond these numbers.
template <typename State, typename Event, size_t kStateCount, size_t kEventCount>
class StateTable {
 public:
  static constexpr size_t kStates = kStateCount;
  static constexpr size_t kEvents = kEventCount;

  struct Row {
    State from;
    Event event;
    State to;
  };

  constexpr StateTable(std::initializer_list<Row> rows) {
    next_.fill(kNone);
    for (const Row& row : rows) next_.at(Index(row.from, row.event)) = static_cast<uint8_t>(row.to);
  }

  constexpr bool Has(State from, Event event) const { return next_[Index(from, event)] != kNone; }
  // Returns the state after `event` in state `from`.
  constexpr State After(State from, Event event) const {
    const uint8_t next = next_[Index(from, event)];
    TRUNKLINE_CHECK(next != kNone, "a state gets only the events that its table has for it");
    return static_cast<State>(next);
  }

 private:
  static constexpr uint8_t kNone = 0xff;
  static constexpr size_t Index(State state, Event event) {
    return static_cast<size_t>(state) * kEventCount + static_cast<size_t>(event);
  }

  std::array<uint8_t, kStateCount * kEventCount> next_{};
};

}  // namespace trunkline
