#include "controller/core/endpoint_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

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
                                   absl::Duration report_interval)
    : report_interval_(report_interval) {
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

absl::Status EndpointRegistry::CheckAnnouncement(const AnnouncedAgent& agent) const {
  if (agent.endpoints.empty() || agent.endpoints.size() > kMaxEndpointsPerAgent) {
    return absl::InvalidArgumentError(
        absl::StrCat("announcement.endpoints of agent ", agent.agent_id, ": expected 1 to ",
                     kMaxEndpointsPerAgent, "; got ", agent.endpoints.size()));
  }
  size_t added = 0;
  for (const AnnouncedEndpoint& announced : agent.endpoints) {
    auto service = services_.find(announced.key.service);
    if (service == services_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "announcement.endpoints.service of agent ", agent.agent_id, ": no service \"",
          announced.key.service, "\" is configured; known services: ", KnownServices()));
    }
    auto holder = service->second.find(announced.key.endpoint_id);
    if (holder == service->second.end()) {
      ++added;
      continue;
    }
    const RegisteredEndpoint& endpoint = holder->second;
    const bool held = !endpoint.agent_id.empty() && endpoint.agent_id != agent.agent_id;
    if (held && endpoint.state == EndpointCondition::kFresh) {
      return absl::AlreadyExistsError(
          absl::StrCat("endpoint ", announced.key.ToString(), " is held by agent ",
                       endpoint.agent_id, " at ", endpoint.address, ", which reports; agent ",
                       agent.agent_id, " needs another endpoint_id, or that agent must stop"));
    }
  }
  if (size_ + added > kMaxEndpoints) {
    return absl::ResourceExhaustedError(absl::StrCat("agent ", agent.agent_id, ": ", kMaxEndpoints,
                                                     " endpoints are known already"));
  }
  return absl::OkStatus();
}

absl::StatusOr<EndpointRegistry::Announced> EndpointRegistry::Announce(AgentSession session,
                                                                       const AnnouncedAgent& agent,
                                                                       MonotonicTime now) {
  for (const AnnouncedEndpoint& announced : agent.endpoints) {
    if (RegisteredEndpoint* endpoint = FindMutable(announced.key)) AgeOne(*endpoint, now);
  }
  if (absl::Status status = CheckAnnouncement(agent); !status.ok()) return status;
  Announced result;
  Agent& known = agents_[agent.agent_id];
  if (known.session != kNoSession) {
    result.replaced = known.session;
    sessions_.erase(known.session);
  }
  for (const EndpointKey& key : std::exchange(known.endpoints, {})) {
    const bool again = std::any_of(agent.endpoints.begin(), agent.endpoints.end(),
                                   [&](const AnnouncedEndpoint& e) { return e.key == key; });
    const RegisteredEndpoint* endpoint = FindMutable(key);
    if (!again && endpoint != nullptr && endpoint->agent_id == agent.agent_id) Remove(key);
  }
  if (known.boot_id != agent.boot_id) known.seq = 0;
  known.boot_id = agent.boot_id;
  known.session = session;
  sessions_[session] = agent.agent_id;
  for (const AnnouncedEndpoint& announced : agent.endpoints) {
    TakeEndpoint(agent, announced);
    known.endpoints.push_back(announced.key);
  }
  return result;
}

void EndpointRegistry::TakeEndpoint(const AnnouncedAgent& agent,
                                    const AnnouncedEndpoint& announced) {
  RegisteredEndpoint* found = FindMutable(announced.key);
  RegisteredEndpoint& endpoint = found != nullptr ? *found : Insert(announced.key);
  if (endpoint.agent_id != agent.agent_id || endpoint.agent_boot_id != agent.boot_id) {
    BeginIncarnation(endpoint);
  }
  // Without an address from the agent, the configured one stays.
  const bool by_trunk = specs_.at(announced.key.service).mode == ForwardingMode::kTunnel;
  const std::string& address = by_trunk ? agent.trunk_address : announced.server_address;
  if (!address.empty()) {
    endpoint.address_configured = false;
    if (std::exchange(endpoint.address, address) != address) ++generation_;
  }
  const std::string holder = std::exchange(endpoint.agent_id, agent.agent_id);
  if (holder != agent.agent_id) DropAgentWithoutEndpoints(holder);
  endpoint.agent_boot_id = agent.boot_id;
  endpoint.cores = announced.cores;
  const bool has_weight = endpoint.configured.has_value() && endpoint.configured->weight > 0;
  if (!has_weight) endpoint.operator_capacity = announced.capacity_hint;
  if (!announced.server_boot_id.empty()) {
    const bool restarted =
        !endpoint.server_boot_id.empty() && endpoint.server_boot_id != announced.server_boot_id;
    if (restarted) BeginIncarnation(endpoint);
    endpoint.server_boot_id = announced.server_boot_id;
  }
}

absl::StatusOr<EndpointRegistry::Verdict> EndpointRegistry::Report(
    AgentSession session, uint64_t seq, const std::vector<ReportedLoad>& loads, MonotonicTime now) {
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return Verdict::kUnknownSession;
  Agent& agent = agents_.at(named->second);
  for (const ReportedLoad& load : loads) {
    if (std::find(agent.endpoints.begin(), agent.endpoints.end(), load.key) ==
        agent.endpoints.end()) {
      return absl::InvalidArgumentError(absl::StrCat("endpoints of the report of agent ",
                                                     named->second, ": ", load.key.ToString(),
                                                     " was not in its announcement"));
    }
  }
  if (seq <= agent.seq) return Verdict::kOldSequence;
  agent.seq = seq;
  for (const ReportedLoad& load : loads) {
    RegisteredEndpoint* endpoint = FindMutable(load.key);
    // Another agent took the endpoint over while this one was silent.
    if (endpoint == nullptr || endpoint->agent_id != named->second) continue;
    TakeLoad(*endpoint, load, now);
  }
  return Verdict::kAccepted;
}

void EndpointRegistry::TakeLoad(RegisteredEndpoint& endpoint, const ReportedLoad& load,
                                MonotonicTime now) {
  AgeOne(endpoint, now);
  const bool restarted = !endpoint.server_boot_id.empty() && !load.server_boot_id.empty() &&
                         endpoint.server_boot_id != load.server_boot_id;
  const bool came_back = endpoint.load.has_value() && !endpoint.load->reachable && load.reachable;
  if (restarted || came_back) BeginIncarnation(endpoint);
  if (!load.server_boot_id.empty()) endpoint.server_boot_id = load.server_boot_id;
  if (load.cores > 0) endpoint.cores = load.cores;
  endpoint.load = load;
  endpoint.reported_at = now;
  endpoint.restored = false;
  ++endpoint.report_serial;
  ++endpoint.reports_in_row;
  AgeOne(endpoint, now);
}

void EndpointRegistry::BeginIncarnation(RegisteredEndpoint& endpoint) {
  ++endpoint.incarnation;
  endpoint.reports_needed = 1;
}

std::string EndpointRegistry::Leave(AgentSession session) {
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return "";
  std::string agent_id = named->second;
  for (const EndpointKey& key : agents_.at(agent_id).endpoints) {
    const RegisteredEndpoint* endpoint = FindMutable(key);
    if (endpoint != nullptr && endpoint->agent_id == agent_id) Remove(key);
  }
  agents_.erase(agent_id);
  sessions_.erase(session);
  return agent_id;
}

void EndpointRegistry::Disconnect(AgentSession session) {
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return;
  const std::string agent_id = named->second;
  agents_.at(agent_id).session = kNoSession;
  sessions_.erase(named);
  DropAgentWithoutEndpoints(agent_id);
}

void EndpointRegistry::DropAgentWithoutEndpoints(const std::string& agent_id) {
  auto agent = agents_.find(agent_id);
  if (agent == agents_.end() || agent->second.session != kNoSession) return;
  for (const EndpointKey& key : agent->second.endpoints) {
    const RegisteredEndpoint* endpoint = FindMutable(key);
    if (endpoint != nullptr && endpoint->agent_id == agent_id) return;
  }
  agents_.erase(agent);
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
          now - endpoint.reported_at > kForgetAfter) {
        forgotten.emplace_back(endpoint.key, endpoint.agent_id);
      }
    }
  }
  for (const auto& [key, agent_id] : forgotten) {
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

std::vector<const RegisteredEndpoint*> EndpointRegistry::EndpointsOfSession(
    AgentSession session) const {
  std::vector<const RegisteredEndpoint*> result;
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return result;
  for (const EndpointKey& key : agents_.at(named->second).endpoints) {
    absl::StatusOr<const RegisteredEndpoint*> endpoint = Find(key);
    if (endpoint.ok() && (*endpoint)->agent_id == named->second) result.push_back(*endpoint);
  }
  return result;
}

void EndpointRegistry::ExportAdmin(std::vector<StoredAdmin>* out) const {
  for (const auto& [key, state] : admin_) out->push_back({key, state.draining, state.pin});
}

std::string EndpointRegistry::KnownServices() const { return Names(services_); }

}  // namespace trunkline
