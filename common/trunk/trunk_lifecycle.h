// The states of a trunk and of its peer, as LIFECYCLE.md shows them.
//
// TrunkConnection changes state through these tables only. trunk_lifecycle_test.cc compares page
// and tables and drives a trunk through every row. Pure.
#pragma once

#include <cstdint>

#include "common/base/state_table.h"

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
inline constexpr StateTable<TrunkState, TrunkEvent, 6, 5> kTrunkTable = {
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

// The signs of life of a trunk's peer.
enum class Liveness : uint8_t {
  kUnheard,  // its first SETTINGS are outstanding
  kAlive,
  kSuspect,  // a PING is out and nothing came yet
};
enum class LivenessEvent : uint8_t { kSettings, kSilence, kAnyByte };
inline constexpr StateTable<Liveness, LivenessEvent, 3, 3> kLivenessTable = {
    {Liveness::kUnheard, LivenessEvent::kSettings, Liveness::kAlive},
    {Liveness::kAlive, LivenessEvent::kSilence, Liveness::kSuspect},
    {Liveness::kSuspect, LivenessEvent::kAnyByte, Liveness::kAlive},
};

}  // namespace trunkline
