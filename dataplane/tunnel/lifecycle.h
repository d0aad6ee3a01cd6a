// The states of a flow that is a stream on a trunk.
//
// TunnelFlow changes state through this table only. LIFECYCLE.md shows the same rows with what
// causes each event; lifecycle_test.cc compares page and table and drives the class through every
// row. Pure.
#pragma once

#include <cstdint>

#include "common/base/state_table.h"

namespace trunkline {

enum class TunnelState : uint8_t {
  kRouting,    // no endpoint; the last attempt, if any, was refused by no agent
  kRerouting,  // no endpoint, because an agent could not connect to its server
  kOpening,    // CONNECT was sent
  kConfirmed,  // the agent has connected; no byte of the server yet
  kAnswered,   // a byte of the server has arrived
  kDone,
};
enum class TunnelEvent : uint8_t {
  kAssigned,
  kRefused,
  kUnprocessed,  // the stream was refused, or is above the last id of a GOAWAY: RFC 9113, 8.7
  kConfirmed,
  kFirstByte,
  kFinished,
};
inline constexpr StateTable<TunnelState, TunnelEvent, 6, 6> kTunnelTable = {
    {TunnelState::kRouting, TunnelEvent::kAssigned, TunnelState::kOpening},
    {TunnelState::kRouting, TunnelEvent::kFinished, TunnelState::kDone},
    {TunnelState::kRerouting, TunnelEvent::kAssigned, TunnelState::kOpening},
    {TunnelState::kRerouting, TunnelEvent::kFinished, TunnelState::kDone},
    {TunnelState::kOpening, TunnelEvent::kRefused, TunnelState::kRerouting},
    {TunnelState::kOpening, TunnelEvent::kUnprocessed, TunnelState::kRouting},
    {TunnelState::kOpening, TunnelEvent::kConfirmed, TunnelState::kConfirmed},
    {TunnelState::kOpening, TunnelEvent::kFinished, TunnelState::kDone},
    {TunnelState::kConfirmed, TunnelEvent::kFirstByte, TunnelState::kAnswered},
    {TunnelState::kConfirmed, TunnelEvent::kFinished, TunnelState::kDone},
    {TunnelState::kAnswered, TunnelEvent::kFinished, TunnelState::kDone},
};

}  // namespace trunkline
