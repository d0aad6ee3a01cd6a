// The unit of the numbers in a delta between snapshots (v1::NumberChanges). The controller writes
// them and proxies read them, so the value is part of the protocol.
#pragma once

namespace trunkline {

// A number is sent as a multiple of 1 / kNumberUnits.
inline constexpr double kNumberUnits = 10'000;

}  // namespace trunkline
