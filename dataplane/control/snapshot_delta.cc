#include "dataplane/control/snapshot_delta.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/number_units.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

using Endpoints = google::protobuf::RepeatedPtrField<v1::Endpoint>;

absl::Status Contradicts(const std::string& service, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("delta: service ", service, ": ", std::string(why)));
}

absl::Status DoesNotFit(const std::string& service, std::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the delta does not fit its base: service ", service, ": ", std::string(why)));
}

// `set` sets the number of one endpoint.
template <typename Set>
absl::Status ApplyNumbers(const std::string& service, const v1::NumberChanges& changes,
                          Endpoints& endpoints, const Set& set) {
  if (changes.skipped_size() != changes.values_size()) {
    return Contradicts(service, absl::StrCat(changes.values_size(), " new numbers for ",
                                             changes.skipped_size(), " endpoints"));
  }
  uint64_t position = 0;
  for (int i = 0; i < changes.values_size(); ++i) {
    position += changes.skipped(i);
    if (position >= static_cast<uint64_t>(endpoints.size())) {
      return DoesNotFit(service, absl::StrCat("there is no endpoint at position ", position, " of ",
                                              endpoints.size()));
    }
    set(endpoints[static_cast<int>(position)], changes.values(i) / kNumberUnits);
    ++position;
  }
  return absl::OkStatus();
}

// Takes the endpoints of `base`, which it may move from.
absl::StatusOr<Endpoints> Merge(Endpoints& base, v1::ServiceDelta& delta) {
  const auto unordered = [](const v1::Endpoint& a, const v1::Endpoint& b) {
    return a.endpoint_id() >= b.endpoint_id();
  };
  if (std::ranges::adjacent_find(base, unordered) != base.end()) {
    return DoesNotFit(delta.name(), "its endpoints are not sorted");
  }
  Endpoints& whole = *delta.mutable_endpoints();
  const auto& removed = delta.removed_endpoints();
  if (std::ranges::adjacent_find(whole, unordered) != whole.end() ||
      std::ranges::adjacent_find(removed, std::ranges::greater_equal()) != removed.end()) {
    return Contradicts(delta.name(), "its changes are not sorted");
  }
  Endpoints merged;
  merged.Reserve(base.size() + whole.size());
  auto next = whole.begin();
  auto gone = removed.begin();
  for (v1::Endpoint& old : base) {
    for (; next != whole.end() && next->endpoint_id() < old.endpoint_id(); ++next) {
      *merged.Add() = std::move(*next);
    }
    const bool replaced = next != whole.end() && next->endpoint_id() == old.endpoint_id();
    const bool is_gone = gone != removed.end() && *gone == old.endpoint_id();
    if (is_gone) ++gone;
    if (replaced) {
      *merged.Add() = std::move(*next++);
    } else if (!is_gone) {
      *merged.Add() = std::move(old);
    }
  }
  for (; next != whole.end(); ++next) *merged.Add() = std::move(*next);
  if (gone == removed.end()) return merged;
  return DoesNotFit(delta.name(), absl::StrCat("there is no endpoint ", *gone, " to remove"));
}

absl::StatusOr<v1::Service> ApplyServiceDelta(const v1::Service& base, v1::ServiceDelta delta) {
  v1::Service service = base;
  Endpoints& endpoints = *service.mutable_endpoints();
  absl::Status applied =
      ApplyNumbers(delta.name(), delta.weights(), endpoints,
                   [](v1::Endpoint& endpoint, double weight) { endpoint.set_weight(weight); });
  if (!applied.ok()) return applied;
  applied = ApplyNumbers(
      delta.name(), delta.capacities(), endpoints,
      [](v1::Endpoint& endpoint, double capacity) { endpoint.set_capacity(capacity); });
  if (!applied.ok()) return applied;
  if (delta.removed_endpoints().empty() && delta.endpoints().empty()) return service;
  absl::StatusOr<Endpoints> merged = Merge(endpoints, delta);
  if (!merged.ok()) return merged.status();
  endpoints.Swap(&*merged);
  return service;
}

}  // namespace

absl::StatusOr<v1::Snapshot> ApplyDelta(const v1::Snapshot& base, v1::SnapshotDelta delta) {
  std::map<std::string_view, const v1::Service*> kept;
  for (const v1::Service& service : base.services()) kept[service.name()] = &service;
  for (const std::string& name : delta.removed_services()) kept.erase(name);
  std::map<std::string, v1::Service> changed;
  for (v1::Service& service : *delta.mutable_services()) {
    kept.erase(service.name());
    changed[service.name()] = std::move(service);
  }
  for (v1::ServiceDelta& change : *delta.mutable_changed_services()) {
    const auto found = kept.find(change.name());
    // It may be there and in another list of the delta.
    if (found == kept.end()) return DoesNotFit(change.name(), "there is none to change");
    const std::string name = change.name();
    absl::StatusOr<v1::Service> applied = ApplyServiceDelta(*found->second, std::move(change));
    if (!applied.ok()) return applied.status();
    kept.erase(found);
    changed[name] = *std::move(applied);
  }
  v1::Snapshot next;
  *next.mutable_id() = delta.id();
  auto unchanged = kept.begin();
  for (auto& [name, service] : changed) {
    for (; unchanged != kept.end() && unchanged->first < name; ++unchanged) {
      *next.add_services() = *unchanged->second;
    }
    *next.add_services() = std::move(service);
  }
  for (; unchanged != kept.end(); ++unchanged) *next.add_services() = *unchanged->second;
  return next;
}

}  // namespace trunkline
