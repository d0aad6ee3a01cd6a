#include "controller/core/snapshot_delta.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/number_units.h"
#include "controller/core/snapshot_publisher.h"

namespace trunkline {
namespace {

using ServicePtr = std::shared_ptr<const SnapshotService>;

// Adds the change from `before`, at `position` of the base, to `after`.
void DiffEndpoint(const SnapshotEndpoint& before, uint32_t position, const SnapshotEndpoint& after,
                  ServiceDelta& delta) {
  if (before == after) return;
  const bool new_weight = before.weight != after.weight;
  const bool new_capacity = before.capacity != after.capacity;
  const std::optional<uint32_t> weight = InUnits(after.weight);
  const std::optional<uint32_t> capacity = InUnits(after.capacity);
  const bool numbers_suffice =
      before.address == after.address && before.draining == after.draining &&
      (!new_weight || weight.has_value()) && (!new_capacity || capacity.has_value());
  if (!numbers_suffice) {
    delta.endpoints.push_back(after);
    return;
  }
  if (new_weight) delta.weights.push_back({position, *weight});
  if (new_capacity) delta.capacities.push_back({position, *capacity});
}

ServiceDelta DiffService(const SnapshotService& base, const SnapshotService& target) {
  ServiceDelta delta{.name = target.name};
  auto before = base.endpoints.begin();
  const auto remove_before = [&](const std::string* id) {
    for (; before != base.endpoints.end() && (id == nullptr || before->endpoint_id < *id);
         ++before) {
      delta.removed_endpoints.push_back(before->endpoint_id);
    }
  };
  for (const SnapshotEndpoint& after : target.endpoints) {
    remove_before(&after.endpoint_id);
    if (before == base.endpoints.end() || before->endpoint_id != after.endpoint_id) {
      delta.endpoints.push_back(after);
      continue;
    }
    DiffEndpoint(*before, static_cast<uint32_t>(before - base.endpoints.begin()), after, delta);
    ++before;
  }
  remove_before(nullptr);
  return delta;
}

bool SameSettings(const SnapshotSettings& a, const SnapshotSettings& b) { return a == b; }

ServicePtr ApplyService(const SnapshotService& base, const ServiceDelta& delta) {
  auto service = std::make_shared<SnapshotService>(base);
  for (const auto& [position, value] : delta.weights) {
    service->endpoints[position].weight = static_cast<double>(value) / kNumberUnits;
  }
  for (const auto& [position, value] : delta.capacities) {
    service->endpoints[position].capacity = static_cast<double>(value) / kNumberUnits;
  }
  std::map<std::string, SnapshotEndpoint> endpoints;
  for (const SnapshotEndpoint& one : service->endpoints) endpoints[one.endpoint_id] = one;
  for (const std::string& id : delta.removed_endpoints) endpoints.erase(id);
  for (const SnapshotEndpoint& one : delta.endpoints) endpoints[one.endpoint_id] = one;
  service->endpoints.clear();
  for (auto& [id, one] : endpoints) service->endpoints.push_back(std::move(one));
  return service;
}

}  // namespace

std::optional<uint32_t> InUnits(double number) {
  const double units = std::round(number * kNumberUnits);
  const bool fits = units >= 0 && units <= std::numeric_limits<uint32_t>::max();
  if (!fits || units / kNumberUnits != number) return std::nullopt;
  return static_cast<uint32_t>(units);
}

ClusterDelta Diff(const ClusterSnapshot& base, const ClusterSnapshot& target) {
  ClusterDelta delta{base.id, target.id, {}, {}, {}};
  auto before = base.services.begin();
  for (const ServicePtr& service : target.services) {
    for (; before != base.services.end() && (*before)->name < service->name; ++before) {
      delta.removed_services.push_back((*before)->name);
    }
    const bool known = before != base.services.end() && (*before)->name == service->name;
    const ServicePtr old = known ? *before++ : nullptr;
    if (old == service) continue;
    if (old == nullptr || !SameSettings(*old, *service)) {
      delta.services.push_back(service);
    } else if (old->endpoints != service->endpoints) {
      delta.changed_services.push_back(DiffService(*old, *service));
    }
  }
  for (; before != base.services.end(); ++before) {
    delta.removed_services.push_back((*before)->name);
  }
  return delta;
}

std::optional<ClusterSnapshot> Apply(const ClusterSnapshot& base, const ClusterDelta& delta) {
  if (base.id != delta.base) return std::nullopt;
  std::map<std::string, ServicePtr> services;
  for (const ServicePtr& service : base.services) services[service->name] = service;
  for (const ServicePtr& service : delta.services) services[service->name] = service;
  for (const std::string& name : delta.removed_services) services.erase(name);
  for (const ServiceDelta& changed : delta.changed_services) {
    ServicePtr& service = services.at(changed.name);
    service = ApplyService(*service, changed);
  }
  ClusterSnapshot result{delta.id, {}};
  for (auto& [name, service] : services) result.services.push_back(std::move(service));
  return result;
}

}  // namespace trunkline
