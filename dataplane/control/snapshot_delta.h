// Applies a delta of the controller to the snapshot that it is based on.
//
// A delta names endpoints by their positions in the base, so a proxy whose base is not the
// controller's would give weights to the wrong endpoints. Everything that does not fit the base is
// an error therefore, after which the controller sends the whole snapshot; nothing is half-applied.
// snapshot_wire.h validates the content of the result. Pure. Thread-safe: no state.
#pragma once

#include "absl/status/statusor.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// The caller has compared the id of `base` with that of the delta. Returns FAILED_PRECONDITION with
// the service and the endpoint if the delta does not fit, and INVALID_ARGUMENT if it contradicts
// itself.
absl::StatusOr<v1::Snapshot> ApplyDelta(const v1::Snapshot& base, v1::SnapshotDelta delta);

}  // namespace trunkline
