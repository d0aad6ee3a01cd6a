// From the controller's messages to what workers use.
//
// Validates once, at the edge: a snapshot with an error in it is refused whole, with words for the
// operator, and the proxy keeps what it has. Pure but for name look-up, which is given. No state.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "dataplane/table/endpoint_set.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// The snapshot that `response` makes of `current`. FAILED_PRECONDITION: older than current, or a
// delta for another base.
absl::StatusOr<v1::Snapshot> NextSnapshot(const v1::Snapshot& current,
                                          v1::SubscribeResponse response);

using Resolver = std::function<std::optional<SocketAddress>(const Address&)>;

// INVALID_ARGUMENT names service, endpoint, field and value. A name that does not resolve is not an
// error. Endpoint sets that are the same as in `previous` (may be null) are shared with it.
absl::StatusOr<std::shared_ptr<const RoutingTable>> BuildRoutingTable(const v1::Snapshot& snapshot,
                                                                      const RoutingTable* previous,
                                                                      const Resolver& resolve,
                                                                      TrafficStats& stats);

// Returns true if `after` differs from `before` in positive weights alone.
bool OnlyWeightsMoved(const RoutingTable& before, const RoutingTable& after);

// Weights of a proxy that heard nothing of its controller for `silence`: from one minute on they
// relax toward learned capacity (half-life 30 s), because what was measured of load then says less
// and less about now.
bool IsRelaxed(absl::Duration silence);
v1::Snapshot RelaxedSnapshot(const v1::Snapshot& snapshot, absl::Duration silence);

}  // namespace trunkline
