#include "controller/core/endpoint_registry.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/stored_state.h"

namespace trunkline {
namespace {

// An error lists this many names: enough to recognise a typing error.
constexpr size_t kNamesInError = 20;

template <typename Map>
std::string Names(const Map& map) {
  if (map.empty()) return "none";
  std::vector<std::string> names;
  for (const auto& [name, unused] : map) {
    if (names.size() == kNamesInError) {
      names.push_back("...");
      break;
    }
    names.push_back(name);
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace

EndpointRegistry::EndpointRegistry(const std::vector<ServiceSpec>& services,
                                   absl::Duration report_interval, absl::Duration forget_after)
    : report_interval_(report_interval), forget_after_(forget_after) {
  for (const ServiceSpec& spec : services) {
    specs_[spec.name] = spec;
    services_[spec.name];
    for (const EndpointHintSpec& hint : spec.endpoints) {
      const EndpointKey key = {spec.name, hint.endpoint_id};
      hints_[key] = hint;
      Insert(key);
    }
  }
}

void EndpointRegistry::Remove(const EndpointKey& key) {
  services_.at(key.service).erase(key.endpoint_id);
  --size_;
  ++generation_;
  if (FindHint(key) != nullptr) Insert(key);
}

const EndpointHintSpec* EndpointRegistry::FindHint(const EndpointKey& key) const {
  auto hint = hints_.find(key);
  return hint == hints_.end() ? nullptr : &hint->second;
}

RegisteredEndpoint& EndpointRegistry::Insert(const EndpointKey& key) {
  RegisteredEndpoint& endpoint = services_.at(key.service)[key.endpoint_id];
  endpoint.key = key;
  if (const EndpointHintSpec* hint = FindHint(key)) {
    endpoint.configured = StoredConfiguration{hint->address, hint->weight};
    endpoint.operator_capacity = hint->weight;
    endpoint.address = hint->address;
    endpoint.address_configured = !hint->address.empty();
  }
  if (auto admin = admin_.find(key); admin != admin_.end()) {
    endpoint.draining = admin->second.draining;
    endpoint.pin = admin->second.pin;
  }
  ++size_;
  ++generation_;
  return endpoint;
}

absl::Status EndpointRegistry::SetAdmin(const EndpointKey& key, const AdminState& state) {
  if (!state.draining && !state.pin.has_value()) {
    admin_.erase(key);
  } else if (admin_.contains(key) || admin_.size() < kMaxAdminStates) {
    admin_[key] = state;
  } else {
    return absl::ResourceExhaustedError(
        absl::StrCat(key.ToString(), ": ", kMaxAdminStates,
                     " endpoints are drained or pinned already; undrain or unpin others first"));
  }
  if (RegisteredEndpoint* endpoint = FindMutable(key)) {
    endpoint->draining = state.draining;
    endpoint->pin = state.pin;
  }
  ++generation_;
  return absl::OkStatus();
}

absl::StatusOr<EndpointRegistry::AdminState> EndpointRegistry::AdminOf(
    const EndpointKey& key) const {
  if (auto admin = admin_.find(key); admin != admin_.end()) return admin->second;
  if (absl::Status known = Find(key).status(); !known.ok()) return known;
  return AdminState{};
}

absl::Status EndpointRegistry::SetDraining(const EndpointKey& key, bool draining) {
  absl::StatusOr<AdminState> state = AdminOf(key);
  if (!state.ok()) return state.status();
  if (state->draining == draining) return Find(key).status();
  // A drain needs an endpoint; the end of one does not.
  if (absl::Status known = Find(key).status(); draining && !known.ok()) return known;
  return SetAdmin(key, {draining, state->pin});
}

absl::Status EndpointRegistry::SetPin(const EndpointKey& key, std::optional<double> pin) {
  absl::StatusOr<AdminState> state = AdminOf(key);
  if (!state.ok()) return state.status();
  if (state->pin == pin) return Find(key).status();
  if (absl::Status known = Find(key).status(); pin.has_value() && !known.ok()) return known;
  return SetAdmin(key, {state->draining, pin});
}

void EndpointRegistry::AgeOne(RegisteredEndpoint& endpoint, MonotonicTime now) const {
  if (!endpoint.load.has_value() && !endpoint.restored) return;
  const absl::Duration silent = now - endpoint.reported_at;
  if (silent > report_interval_ * kStaleIntervals) {
    // A restored endpoint was silent only because the controller was down, so one report suffices.
    if (endpoint.state == EndpointCondition::kFresh) endpoint.reports_needed = kReportsToReturn;
    endpoint.state = silent > report_interval_ * kExpiredIntervals ? EndpointCondition::kExpired
                                                                   : EndpointCondition::kStale;
    endpoint.reports_in_row = 0;
    return;
  }
  if (endpoint.reports_in_row >= endpoint.reports_needed) {
    endpoint.state = EndpointCondition::kFresh;
  }
}

void EndpointRegistry::Age(MonotonicTime now) {
  std::vector<std::pair<EndpointKey, std::string>> forgotten;
  for (auto& [service, endpoints] : services_) {
    for (auto& [id, endpoint] : endpoints) {
      AgeOne(endpoint, now);
      const bool expired = endpoint.state == EndpointCondition::kExpired;
      if (expired && !endpoint.configured.has_value() &&
          now - endpoint.reported_at > forget_after_) {
        forgotten.emplace_back(endpoint.key, endpoint.agent_id);
      }
    }
  }
  for (const auto& [key, agent_id] : forgotten) {
    Remove(key);
    DropAgentWithoutEndpoints(agent_id);
  }
  if (contested_ || checked_claim_ != last_claim_) ReleaseAddresses();
}

absl::StatusOr<size_t> EndpointRegistry::Forget(const std::string& service,
                                                const std::string& endpoint_id) {
  std::vector<std::pair<EndpointKey, std::string>> gone;
  if (!endpoint_id.empty()) {
    absl::StatusOr<const RegisteredEndpoint*> found = Find({service, endpoint_id});
    if (!found.ok()) return found.status();
    const RegisteredEndpoint& endpoint = **found;
    if (endpoint.agent_id.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("endpoint ", endpoint.key.ToString(),
                       " is in the configuration and has no agent; remove it there"));
    }
    if (!IsSilent(endpoint)) {
      return absl::FailedPreconditionError(
          absl::StrCat("endpoint ", endpoint.key.ToString(), " reports; stop its agent ",
                       endpoint.agent_id, ", or drain the endpoint"));
    }
    gone.emplace_back(endpoint.key, endpoint.agent_id);
  } else {
    auto found = services_.find(service);
    if (found == services_.end()) return Find({service, ""}).status();
    for (const auto& [id, endpoint] : found->second) {
      const bool expired = endpoint.state == EndpointCondition::kExpired;
      if (expired) gone.emplace_back(endpoint.key, endpoint.agent_id);
    }
  }
  for (const auto& [key, agent_id] : gone) {
    Remove(key);
    DropAgentWithoutEndpoints(agent_id);
  }
  return gone.size();
}

bool EndpointRegistry::IsSilent(const RegisteredEndpoint& endpoint) const {
  auto agent = agents_.find(endpoint.agent_id);
  return agent == agents_.end() || agent->second.session == kNoSession ||
         endpoint.state == EndpointCondition::kStale ||
         endpoint.state == EndpointCondition::kExpired;
}

void EndpointRegistry::ReleaseAddresses() {
  checked_claim_ = last_claim_;
  contested_ = false;
  std::unordered_map<std::string_view, const RegisteredEndpoint*> newest;
  // Pairs of an endpoint and the owner of its address. An agent may have several endpoints at one.
  std::vector<std::pair<const RegisteredEndpoint*, const RegisteredEndpoint*>> losers;
  for (const auto& [service, endpoints] : services_) {
    for (const auto& [id, endpoint] : endpoints) {
      if (endpoint.address.empty() || endpoint.address_configured) continue;
      const RegisteredEndpoint*& owner = newest[endpoint.address];
      if (owner == nullptr || owner->claim < endpoint.claim) owner = &endpoint;
    }
  }
  for (const auto& [service, endpoints] : services_) {
    for (const auto& [id, endpoint] : endpoints) {
      if (endpoint.address.empty() || endpoint.address_configured) continue;
      const RegisteredEndpoint* owner = newest.at(endpoint.address);
      const bool lost = owner->claim > endpoint.claim && owner->agent_id != endpoint.agent_id;
      if (lost) losers.emplace_back(&endpoint, owner);
    }
  }
  for (const auto& [endpoint, owner] : losers) {
    if (!IsSilent(*endpoint)) {
      contested_ = true;
      continue;
    }
    notes_.push_back(absl::StrCat("endpoint ", endpoint->key.ToString(), " of agent ",
                                  endpoint->agent_id, " leaves: agent ", owner->agent_id,
                                  " announced its address ", endpoint->address, " for ",
                                  owner->key.ToString()));
    const EndpointKey key = endpoint->key;
    const std::string agent_id = endpoint->agent_id;
    Remove(key);
    DropAgentWithoutEndpoints(agent_id);
  }
}

RegisteredEndpoint* EndpointRegistry::FindMutable(const EndpointKey& key) {
  auto service = services_.find(key.service);
  if (service == services_.end()) return nullptr;
  auto endpoint = service->second.find(key.endpoint_id);
  return endpoint == service->second.end() ? nullptr : &endpoint->second;
}

absl::StatusOr<const RegisteredEndpoint*> EndpointRegistry::Find(const EndpointKey& key) const {
  auto service = services_.find(key.service);
  if (service == services_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no service \"", key.service, "\"; known services: ", KnownServices()));
  }
  auto endpoint = service->second.find(key.endpoint_id);
  if (endpoint == service->second.end()) {
    return absl::NotFoundError(absl::StrCat("service ", key.service, " has no endpoint \"",
                                            key.endpoint_id,
                                            "\"; known endpoints: ", Names(service->second)));
  }
  return &endpoint->second;
}

std::vector<const RegisteredEndpoint*> EndpointRegistry::EndpointsOf(
    const std::string& service) const {
  std::vector<const RegisteredEndpoint*> result;
  auto found = services_.find(service);
  if (found == services_.end()) return result;
  result.reserve(found->second.size());
  for (const auto& [id, endpoint] : found->second) result.push_back(&endpoint);
  return result;
}

void EndpointRegistry::ExportAdmin(std::vector<StoredAdmin>* out) const {
  for (const auto& [key, state] : admin_) out->push_back({key, state.draining, state.pin});
}

std::string EndpointRegistry::KnownServices() const { return Names(services_); }

}  // namespace trunkline
