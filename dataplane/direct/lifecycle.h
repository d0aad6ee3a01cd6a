// The states of a flow with an upstream connection of its own.
//
// DirectFlow changes state through this table only. LIFECYCLE.md shows the same rows with what
// causes each event; lifecycle_test.cc compares page and table and drives the class through every
// row. Pure.
#pragma once

#include <cstdint>

#include "common/base/state_table.h"

namespace trunkline {

enum class DirectState : uint8_t {
  kRouting,    // no endpoint yet, and none has refused
  kRerouting,  // no endpoint, and at least one has refused
  kConnecting,
  kOpening,    // the server has yet to answer the opening of the connection
  kConnected,  // both sockets are watched; no byte has moved
  kRelaying,
  kDone,
};
enum class DirectEvent : uint8_t {
  kAssigned,
  kRefused,
  kOpeningSent,
  kRedialed,
  kConnected,
  kBytesMoved,
  kFinished,
};
inline constexpr StateTable<DirectState, DirectEvent, 7, 7> kDirectTable = {
    {DirectState::kRouting, DirectEvent::kAssigned, DirectState::kConnecting},
    {DirectState::kRouting, DirectEvent::kFinished, DirectState::kDone},
    {DirectState::kRerouting, DirectEvent::kAssigned, DirectState::kConnecting},
    {DirectState::kRerouting, DirectEvent::kFinished, DirectState::kDone},
    {DirectState::kConnecting, DirectEvent::kRefused, DirectState::kRerouting},
    {DirectState::kConnecting, DirectEvent::kOpeningSent, DirectState::kOpening},
    {DirectState::kConnecting, DirectEvent::kConnected, DirectState::kConnected},
    {DirectState::kConnecting, DirectEvent::kFinished, DirectState::kDone},
    {DirectState::kOpening, DirectEvent::kRefused, DirectState::kRerouting},
    {DirectState::kOpening, DirectEvent::kRedialed, DirectState::kConnecting},
    {DirectState::kOpening, DirectEvent::kConnected, DirectState::kConnected},
    {DirectState::kOpening, DirectEvent::kFinished, DirectState::kDone},
    {DirectState::kConnected, DirectEvent::kBytesMoved, DirectState::kRelaying},
    {DirectState::kConnected, DirectEvent::kFinished, DirectState::kDone},
    {DirectState::kRelaying, DirectEvent::kBytesMoved, DirectState::kRelaying},
    {DirectState::kRelaying, DirectEvent::kFinished, DirectState::kDone},
};

}  // namespace trunkline
