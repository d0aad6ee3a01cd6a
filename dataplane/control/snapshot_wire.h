// Turns the controller's messages into the routing table that workers use.
//
// Validates each snapshot once, here. A service with an error is refused and keeps its former
// version, if it has one; the others are taken. A snapshot that contradicts itself, or of which no
// service can be used, is refused whole, and the proxy keeps the previous one. Pure except for name
// resolution, which is injected. Thread-safe: no state.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/table/endpoint_set.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

// Returns the known addresses without blocking, or null.
using Resolver = std::function<AddressList(const Address&)>;

// A service of a snapshot that this proxy cannot use.
struct RefusedService {
  std::string service;
  // Names service, endpoint, field and value.
  std::string reason;
  // Its former version stays in service.
  bool kept = false;
  friend bool operator==(const RefusedService&, const RefusedService&) = default;
};

// Names the services and the reasons, for the operator; empty if there are none.
std::string RefusalText(const std::vector<RefusedService>& refused);

// Builds the table of `snapshot`, without the services that it sets `*refused` to or with their
// former versions. Endpoint sets that are unchanged since `previous`, which may be null, are shared
// with it. An endpoint whose name does not resolve is not an error. Returns INVALID_ARGUMENT if the
// snapshot is refused whole.
absl::StatusOr<std::shared_ptr<const RoutingTable>> BuildRoutingTable(
    const v1::Snapshot& snapshot, const RoutingTable* previous, const Resolver& resolve,
    TrafficStats& stats, std::vector<RefusedService>* refused);

// Returns true if `after` differs from `before` only in weights that stay positive.
bool OnlyWeightsMoved(const RoutingTable& before, const RoutingTable& after);

}  // namespace trunkline
