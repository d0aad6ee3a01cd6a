// The sequence of a proxy's snapshots: each follows from the one before and the controller's
// response, or from the controller's silence.
//
// Messages in, messages out; snapshot_wire.h validates their content. Pure. Thread-safe: no state.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// Returns the snapshot that results from applying `response` to `current`. Returns
// FAILED_PRECONDITION if the response is older than `current`, is a delta or an up-to-date notice
// for another snapshot, or is a delta that does not fit `current`; INVALID_ARGUMENT if it carries
// nothing or contradicts itself.
absl::StatusOr<v1::Snapshot> NextSnapshot(const v1::Snapshot& current,
                                          v1::SubscribeResponse response);

// Relaxes the weights of a proxy that has heard nothing from its controller for `silence`: after
// one minute they move toward the learned capacity, with a half-life of 30 s, because the measured
// load behind them is out of date. IsRelaxed returns true if weights relax at all after that
// silence.
bool IsRelaxed(absl::Duration silence);
v1::Snapshot RelaxedSnapshot(const v1::Snapshot& snapshot, absl::Duration silence);

}  // namespace trunkline
