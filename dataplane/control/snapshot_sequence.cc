#include "dataplane/control/snapshot_sequence.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

constexpr absl::Duration kRelaxAfter = absl::Minutes(1);
constexpr absl::Duration kRelaxHalfLife = absl::Seconds(30);

std::tuple<uint64_t, uint64_t> Order(const v1::SnapshotId& id) {
  return {id.epoch(), id.version()};
}

std::string IdText(const v1::SnapshotId& id) { return absl::StrCat(id.epoch(), "/", id.version()); }

v1::Snapshot ApplyDelta(const v1::Snapshot& base, v1::SnapshotDelta delta) {
  std::map<std::string_view, const v1::Service*> kept;
  for (const v1::Service& service : base.services()) kept[service.name()] = &service;
  for (const std::string& name : delta.removed_services()) kept.erase(name);
  std::map<std::string, v1::Service*> changed;
  for (v1::Service& service : *delta.mutable_services()) {
    kept.erase(service.name());
    changed[service.name()] = &service;
  }
  v1::Snapshot next;
  *next.mutable_id() = delta.id();
  auto unchanged = kept.begin();
  for (const auto& [name, service] : changed) {
    for (; unchanged != kept.end() && unchanged->first < name; ++unchanged) {
      *next.add_services() = *unchanged->second;
    }
    *next.add_services() = std::move(*service);
  }
  for (; unchanged != kept.end(); ++unchanged) *next.add_services() = *unchanged->second;
  return next;
}

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
  v1::Snapshot next = response.has_delta()
                          ? ApplyDelta(current, std::move(*response.mutable_delta()))
                          : std::move(*response.mutable_snapshot());
  if (Order(next.id()) < Order(current.id())) {
    return absl::FailedPreconditionError(absl::StrCat("snapshot ", IdText(next.id()),
                                                      " is older than ", IdText(current.id()),
                                                      ", which this proxy has"));
  }
  return next;
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
