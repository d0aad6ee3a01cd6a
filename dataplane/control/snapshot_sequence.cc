#include "dataplane/control/snapshot_sequence.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "dataplane/control/snapshot_delta.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

constexpr absl::Duration kRelaxAfter = absl::Minutes(1);
constexpr absl::Duration kRelaxHalfLife = absl::Seconds(30);

std::tuple<uint64_t, uint64_t> Order(const v1::SnapshotId& id) {
  return {id.epoch(), id.version()};
}

std::string IdText(const v1::SnapshotId& id) { return absl::StrCat(id.epoch(), "/", id.version()); }

}  // namespace

absl::StatusOr<v1::Snapshot> NextSnapshot(const v1::Snapshot& current,
                                          v1::SubscribeResponse response) {
  if (response.has_up_to_date()) {
    if (Order(response.up_to_date()) == Order(current.id())) return current;
    return absl::FailedPreconditionError(
        absl::StrCat("the controller says that this proxy is up to date with ",
                     IdText(response.up_to_date()), "; it has ", IdText(current.id())));
  }
  if (response.has_delta() && Order(response.delta().base()) != Order(current.id())) {
    return absl::FailedPreconditionError(absl::StrCat("the delta is based on ",
                                                      IdText(response.delta().base()),
                                                      "; this proxy has ", IdText(current.id())));
  }
  if (!response.has_delta() && !response.has_snapshot()) {
    return absl::InvalidArgumentError("the response has neither snapshot nor delta");
  }
  const v1::SnapshotId& id =
      response.has_delta() ? response.delta().id() : response.snapshot().id();
  if (Order(id) < Order(current.id())) {
    return absl::FailedPreconditionError(absl::StrCat("snapshot ", IdText(id), " is older than ",
                                                      IdText(current.id()),
                                                      ", which this proxy has"));
  }
  if (response.has_delta()) return ApplyDelta(current, std::move(*response.mutable_delta()));
  return std::move(*response.mutable_snapshot());
}

bool IsRelaxed(absl::Duration silence) { return silence > kRelaxAfter; }

v1::Snapshot RelaxedSnapshot(const v1::Snapshot& snapshot, absl::Duration silence) {
  v1::Snapshot relaxed = snapshot;
  if (!IsRelaxed(silence)) return relaxed;
  const double keep = std::exp2(-absl::FDivDuration(silence - kRelaxAfter, kRelaxHalfLife));
  for (v1::Service& service : *relaxed.mutable_services()) {
    double weights = 0;
    double capacities = 0;
    for (const v1::Endpoint& endpoint : service.endpoints()) {
      if (endpoint.draining()) continue;
      weights += endpoint.weight();
      capacities += endpoint.capacity();
    }
    if (weights <= 0 || capacities <= 0) continue;
    for (v1::Endpoint& endpoint : *service.mutable_endpoints()) {
      if (endpoint.draining()) continue;
      const double resting = endpoint.capacity() / capacities * weights;
      endpoint.set_weight(keep * endpoint.weight() + (1 - keep) * resting);
    }
  }
  return relaxed;
}

}  // namespace trunkline
