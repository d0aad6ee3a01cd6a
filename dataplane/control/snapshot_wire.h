// Turns the controller's messages into the routing table that workers use.
//
// Validates each snapshot once, here: a snapshot with any error is refused whole, with an error for
// the operator, and the proxy keeps the previous one. Pure except for name resolution, which is
// injected. Thread-safe: no state.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "dataplane/table/endpoint_set.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// Returns the snapshot that results from applying `response` to `current`. Returns
// FAILED_PRECONDITION if the response is older than `current`, or is a delta or an up-to-date
// notice for another snapshot; INVALID_ARGUMENT if it carries nothing.
absl::StatusOr<v1::Snapshot> NextSnapshot(const v1::Snapshot& current,
                                          v1::SubscribeResponse response);

// Returns the known addresses without blocking, or null.
using Resolver = std::function<AddressList(const Address&)>;

// Builds the table of `snapshot`. Endpoint sets that are unchanged since `previous`, which may be
// null, are shared with it. An endpoint whose name does not resolve is not an error. Returns
// INVALID_ARGUMENT with service, endpoint, field and value if the snapshot is invalid.
absl::StatusOr<std::shared_ptr<const RoutingTable>> BuildRoutingTable(const v1::Snapshot& snapshot,
                                                                      const RoutingTable* previous,
                                                                      const Resolver& resolve,
                                                                      TrafficStats& stats);

// Returns true if `after` differs from `before` only in weights that stay positive.
bool OnlyWeightsMoved(const RoutingTable& before, const RoutingTable& after);

// Relaxes the weights of a proxy that has heard nothing from its controller for `silence`: after
// one minute they move toward the learned capacity, with a half-life of 30 s, because the measured
// load behind them is out of date. IsRelaxed returns true if weights relax at all after that
// silence.
bool IsRelaxed(absl::Duration silence);
v1::Snapshot RelaxedSnapshot(const v1::Snapshot& snapshot, absl::Duration silence);

}  // namespace trunkline
