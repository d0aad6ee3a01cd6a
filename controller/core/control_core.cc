#include "controller/core/control_core.h"

#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "controller/core/load_model.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {

bool ControllerView::Knows(const EndpointKey& key) const {
  const auto service = std::ranges::lower_bound(
      services, key.service, {},
      [](const ServiceReason& reason) -> const std::string& { return reason.spec.name; });
  if (service == services.end() || service->spec.name != key.service) return false;
  const auto endpoint =
      std::ranges::lower_bound(service->endpoints, key.endpoint_id, {},
                               [](const EndpointReason& reason) -> const std::string& {
                                 return reason.endpoint.key.endpoint_id;
                               });
  return endpoint != service->endpoints.end() &&
         endpoint->endpoint.key.endpoint_id == key.endpoint_id;
}

ControlCore::ControlCore(const Options& options, MonotonicTime now)
    : registry_(options.services, options.report_interval, options.forget_after),
      publisher_(options.first.epoch, options.first.version),
      settled_at_(options.stored.has_value() ? now : now + options.agents_return) {
  for (const ServiceSpec& spec : options.services) {
    stages_.emplace(spec.name,
                    ServiceStages{.spec = spec,
                                  .model = LoadModel(options.report_interval),
                                  .policy = WeightPolicy(spec.policy, options.slow_start)});
  }
  if (options.stored.has_value()) Restore(*options.stored, now);
  Tick(now);
}

void ControlCore::Restore(const StoredState& stored, MonotonicTime now) {
  restore_notes_ = registry_.Restore(stored, now);
  for (const StoredEndpoint& old : stored.endpoints) {
    const absl::StatusOr<const RegisteredEndpoint*> endpoint = registry_.Find(old.key);
    if (!endpoint.ok()) continue;
    auto stages = stages_.find(old.key.service);
    const std::string& id = old.key.endpoint_id;
    stages->second.limiter.Restore(id, old.weight);
    // The registry counts incarnations in the same way. Without a report there is nothing learned.
    const bool reported = !old.agent_boot_id.empty();
    stages->second.policy.Restore(id, reported ? 1 : 0, absl::Seconds(old.slow_start_seconds), now);
    // A capacity that still is the configured weight begins anew from an edited one.
    const auto weight = [](const std::optional<StoredConfiguration>& configured) {
      return configured.has_value() ? configured->weight : 0;
    };
    const bool edited = weight((*endpoint)->configured) != weight(old.configured);
    if (reported && (old.learned || !edited)) {
      stages->second.model.Restore(id, old.capacity, old.theta, old.learned);
    }
  }
  for (const StoredCapacity& departed : stored.departed) {
    auto stages = stages_.find(departed.key.service);
    if (stages == stages_.end()) continue;
    stages->second.model.RestoreDeparted(departed.key.endpoint_id, departed.capacity);
  }
}

bool ControlCore::Tick(MonotonicTime now) {
  registry_.Age(now);
  traffic_.Sweep(now);
  const bool membership_changed =
      std::exchange(seen_generation_, registry_.generation()) != registry_.generation();
  std::vector<std::shared_ptr<const SnapshotService>> services;
  services.reserve(stages_.size());
  for (auto& [name, stages] : stages_) {
    TickService(stages, membership_changed, now);
    services.push_back(stages.published);
  }
  return publisher_.Publish(std::move(services));
}

std::vector<WeightedEndpoint> ControlCore::Weigh(const ServiceStages& stages,
                                                 MonotonicTime now) const {
  std::vector<WeightedEndpoint> weighted;
  const bool known = traffic_.known(now);
  double seen = 0;
  for (const RegisteredEndpoint* endpoint : registry_.EndpointsOf(stages.spec.name)) {
    // Proxies cannot reach an endpoint without an address.
    if (endpoint->address.empty()) continue;
    weighted.push_back({endpoint, stages.limiter.accepted(endpoint->key.endpoint_id)});
    if (!known) continue;
    WeightedEndpoint& one = weighted.back();
    one.traffic = traffic_.Measure(endpoint->key, now);
    seen += one.traffic->served_per_second + one.traffic->bytes_per_second +
            one.traffic->errors_per_second + one.traffic->unanswered_per_second;
  }
  // The service's clients come by another way, about which only the agents know, or there are none.
  if (seen == 0) {
    for (WeightedEndpoint& one : weighted) one.traffic.reset();
  }
  return weighted;
}

double ControlCore::HoldCapacity(double published, double capacity) {
  const bool known = published > 0 && capacity > 0;
  if (known && std::abs(std::log(capacity / published)) <= kCapacityRatio) return published;
  return WeightLimiter::Quantise(capacity);
}

void ControlCore::TickService(ServiceStages& stages, bool membership_changed, MonotonicTime now) {
  const std::vector<WeightedEndpoint> weighted = Weigh(stages, now);
  stages.model.Tick(weighted, now);
  stages.proposed = stages.policy.Tick(weighted, stages.model, now);
  const bool moved = stages.limiter.Tick(stages.proposed, stages.model.service().frozen(), now);
  if (!moved && !membership_changed &&
      now - stages.described_at < WeightLimiter::kPublishInterval) {
    return;
  }
  SnapshotService described = Describe(stages, weighted);
  if (described != *stages.published) {
    stages.published = std::make_shared<const SnapshotService>(std::move(described));
  }
  stages.described_at = now;
}

SnapshotService ControlCore::Describe(const ServiceStages& stages,
                                      const std::vector<WeightedEndpoint>& weighted) {
  SnapshotService service;
  service.name = stages.spec.name;
  service.mode = stages.spec.mode;
  service.listen = stages.spec.listen;
  service.limits = stages.spec.limits;
  service.message_options = stages.spec.message_options;
  service.proxy_protocol = stages.spec.proxy_protocol;
  service.health_check = stages.spec.health_check;
  service.policy = stages.spec.policy;
  // Weights relax toward the capacity while proxies have no controller. Under a policy that does
  // not learn, they must stay at what is configured.
  const bool learns = stages.spec.policy == BalancingPolicy::kAdaptive;
  service.endpoints.reserve(weighted.size());
  auto before = stages.published->endpoints.begin();
  const auto end = stages.published->endpoints.end();
  for (size_t i = 0; i < weighted.size(); ++i) {
    const RegisteredEndpoint& endpoint = *weighted[i].endpoint;
    const std::string& id = endpoint.key.endpoint_id;
    while (before != end && before->endpoint_id < id) ++before;
    const bool known = before != end && before->endpoint_id == id;
    const double capacity =
        learns ? HoldCapacity(known ? before->capacity : 0, stages.model.estimate_at(i).capacity)
               : WeightLimiter::Quantise(stages.proposed[i].base);
    service.endpoints.push_back(
        {id, endpoint.address, stages.limiter.accepted(id), endpoint.draining, capacity});
  }
  return service;
}

std::shared_ptr<const ControllerView> ControlCore::View(MonotonicTime now) const {
  auto view = std::make_shared<ControllerView>();
  view->snapshot = publisher_.current();
  view->history = publisher_.history();
  view->connected_agents = registry_.connected_agents();
  view->refused_endpoints = registry_.refused_endpoints();
  view->settling = now < settled_at_;
  for (const auto& [name, stages] : stages_) {
    ServiceReason& service = view->services.emplace_back();
    service.spec = stages.spec;
    service.load = stages.model.service();
    service.mean_proposed = stages.limiter.mean_proposed();
    double sum = 0;
    for (const SnapshotEndpoint& endpoint : stages.published->endpoints) sum += endpoint.weight;
    size_t position = 0;
    const std::vector<const RegisteredEndpoint*> endpoints = registry_.EndpointsOf(name);
    service.endpoints.reserve(endpoints.size());
    for (const RegisteredEndpoint* endpoint : endpoints) {
      EndpointReason& reason = service.endpoints.emplace_back();
      reason.endpoint = *endpoint;
      if (endpoint->load.has_value()) reason.report_age = now - endpoint->reported_at;
      // Endpoints may have left or joined since the last tick; the next tick weighs the new ones.
      while (position < stages.proposed.size() &&
             stages.proposed[position].endpoint_id < endpoint->key.endpoint_id) {
        ++position;
      }
      if (position == stages.proposed.size() ||
          stages.proposed[position].endpoint_id != endpoint->key.endpoint_id) {
        continue;
      }
      reason.load = stages.model.estimate_at(position);
      reason.proposed = stages.proposed[position++];
      reason.weight = stages.limiter.accepted(endpoint->key.endpoint_id);
      reason.share = sum > 0 ? reason.weight / sum : 0;
    }
  }
  return view;
}

StoredState ControlCore::Export() const {
  StoredState state;
  state.epoch = publisher_.current()->id.epoch;
  state.version = publisher_.current()->id.version;
  state.endpoints.reserve(registry_.size());
  for (const auto& [name, stages] : stages_) {
    for (const RegisteredEndpoint* endpoint : registry_.EndpointsOf(name)) {
      const std::string& id = endpoint->key.endpoint_id;
      if (!stages.limiter.knows(id)) continue;
      const EndpointEstimate& load = stages.model.estimate(id);
      state.endpoints.push_back(
          {.key = endpoint->key,
           .address = endpoint->address,
           .address_configured = endpoint->address_configured,
           .configured = endpoint->configured,
           .mode = stages.spec.mode,
           .trunk_address = endpoint->trunk_address,
           .server_address = endpoint->server_address,
           .agent_id = endpoint->agent_id,
           .agent_boot_id = endpoint->agent_boot_id,
           .server_boot_id = endpoint->server_boot_id,
           .cores = endpoint->cores,
           .operator_capacity = endpoint->operator_capacity,
           .capacity = load.capacity,
           .theta = load.theta,
           .learned = load.learned,
           .slow_start_seconds = absl::ToDoubleSeconds(stages.policy.SlowStartProgress(id)),
           .weight = stages.limiter.accepted(id)});
    }
    for (const auto& [id, capacity] : stages.model.departed()) {
      state.departed.push_back({{name, id}, capacity});
    }
  }
  registry_.ExportAdmin(&state.admin);
  return state;
}

}  // namespace trunkline
