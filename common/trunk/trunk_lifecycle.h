// The states of a trunk and the transitions between them, as LIFECYCLE.md shows them.
//
// TrunkConnection makes no other transition; a test compares these tables with the page. Pure,
// constexpr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace trunkline {

enum class TrunkState : uint8_t {
  kStarting,      // connecting, in the TLS handshake, or waiting for the peer's SETTINGS
  kUp,            // takes new streams
  kDraining,      // takes no new streams because this end ends it
  kPeerDraining,  // takes no new streams because the peer sent GOAWAY
  kClosing,       // everything is sent; waits for the peer to close
  kLost,          // closed
};

enum class TrunkEvent : uint8_t {
  kSettings,  // the peer's first SETTINGS
  kGoAway,    // GOAWAY from the peer
  kDrain,     // Drain() by the owner
  kFinished,  // the last stream ended and all output was written
  kClose,     // Close(), a timeout, an error or the end of the connection
};

struct TrunkTransition {
  TrunkState from;
  TrunkEvent event;
  TrunkState to;
};

// A pair that is missing cannot occur.
inline constexpr TrunkTransition kTrunkTransitions[] = {
    {TrunkState::kStarting, TrunkEvent::kSettings, TrunkState::kUp},
    {TrunkState::kStarting, TrunkEvent::kDrain, TrunkState::kDraining},
    {TrunkState::kStarting, TrunkEvent::kClose, TrunkState::kLost},
    {TrunkState::kUp, TrunkEvent::kGoAway, TrunkState::kPeerDraining},
    {TrunkState::kUp, TrunkEvent::kDrain, TrunkState::kDraining},
    {TrunkState::kUp, TrunkEvent::kClose, TrunkState::kLost},
    {TrunkState::kDraining, TrunkEvent::kSettings, TrunkState::kDraining},
    {TrunkState::kDraining, TrunkEvent::kGoAway, TrunkState::kDraining},
    {TrunkState::kDraining, TrunkEvent::kDrain, TrunkState::kDraining},
    {TrunkState::kDraining, TrunkEvent::kFinished, TrunkState::kClosing},
    {TrunkState::kDraining, TrunkEvent::kClose, TrunkState::kLost},
    {TrunkState::kPeerDraining, TrunkEvent::kGoAway, TrunkState::kPeerDraining},
    {TrunkState::kPeerDraining, TrunkEvent::kDrain, TrunkState::kPeerDraining},
    {TrunkState::kPeerDraining, TrunkEvent::kFinished, TrunkState::kClosing},
    {TrunkState::kPeerDraining, TrunkEvent::kClose, TrunkState::kLost},
    {TrunkState::kClosing, TrunkEvent::kSettings, TrunkState::kClosing},
    {TrunkState::kClosing, TrunkEvent::kGoAway, TrunkState::kClosing},
    {TrunkState::kClosing, TrunkEvent::kDrain, TrunkState::kClosing},
    {TrunkState::kClosing, TrunkEvent::kClose, TrunkState::kLost},
};

// The state after `event` in `from`; nothing for a pair that cannot occur.
constexpr std::optional<TrunkState> NextState(TrunkState from, TrunkEvent event) {
  for (const TrunkTransition& transition : kTrunkTransitions) {
    if (transition.from == from && transition.event == event) return transition.to;
  }
  return std::nullopt;
}

// As LIFECYCLE.md writes them.
constexpr std::string_view NameOf(TrunkState state) {
  constexpr std::string_view kNames[] = {"starting",      "up",      "draining",
                                         "peer draining", "closing", "lost"};
  return kNames[static_cast<size_t>(state)];
}
constexpr std::string_view NameOf(TrunkEvent event) {
  constexpr std::string_view kNames[] = {"SETTINGS", "GOAWAY", "Drain()", "finished", "Close()"};
  return kNames[static_cast<size_t>(event)];
}

}  // namespace trunkline
