// The agents of the registry: their sessions, announcements and reports; endpoint_registry.cc has
// the rest of it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/limits.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"

namespace trunkline {

absl::Status EndpointRegistry::CheckEndpoint(const std::string& agent_id, const EndpointKey& key,
                                             size_t added) const {
  auto service = services_.find(key.service);
  if (service == services_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("announcement.endpoints.service of agent ", agent_id, ": no service \"",
                     key.service, "\" is configured; known services: ", KnownServices()));
  }
  auto holder = service->second.find(key.endpoint_id);
  if (holder == service->second.end()) {
    if (size_ + added < kMaxClusterEndpoints) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat("agent ", agent_id, ": ", kMaxClusterEndpoints,
                                                     " endpoints are known already"));
  }
  const RegisteredEndpoint& endpoint = holder->second;
  const bool held = !endpoint.agent_id.empty() && endpoint.agent_id != agent_id;
  if (!held || endpoint.state != EndpointCondition::kFresh) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("endpoint ", key.ToString(), " is held by agent ", endpoint.agent_id, " at ",
                   endpoint.address, ", which reports; agent ", agent_id,
                   " needs another endpoint_id, or that agent must stop"));
}

absl::StatusOr<EndpointRegistry::Announced> EndpointRegistry::Announce(AgentSession session,
                                                                       const AnnouncedAgent& agent,
                                                                       MonotonicTime now) {
  if (agent.endpoints.empty() || agent.endpoints.size() > kMaxAgentEndpoints) {
    return absl::InvalidArgumentError(
        absl::StrCat("announcement.endpoints of agent ", agent.agent_id, ": expected 1 to ",
                     kMaxAgentEndpoints, "; got ", agent.endpoints.size()));
  }
  std::map<EndpointKey, RefusedClaim> refused;
  absl::Status first_refusal;
  size_t added = 0;
  for (const AnnouncedEndpoint& announced : agent.endpoints) {
    RegisteredEndpoint* endpoint = FindMutable(announced.key);
    if (endpoint != nullptr) AgeOne(*endpoint, now);
    const absl::Status checked = CheckEndpoint(agent.agent_id, announced.key, added);
    if (checked.ok() && endpoint == nullptr) ++added;
    first_refusal.Update(checked);
    if (!checked.ok()) refused[announced.key] = {announced, std::string(checked.message())};
  }
  if (refused.size() == agent.endpoints.size()) return first_refusal;
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
  if (known.identity.boot_id != agent.boot_id) known.seq = 0;
  known.identity = agent;
  known.identity.endpoints.clear();
  known.session = session;
  known.refused = std::move(refused);
  sessions_[session] = agent.agent_id;
  for (const AnnouncedEndpoint& announced : agent.endpoints) {
    if (known.refused.contains(announced.key)) continue;
    TakeEndpoint(known.identity, announced);
    known.endpoints.push_back(announced.key);
  }
  result.refused = RefusedOfSession(session);
  return result;
}

void EndpointRegistry::Displace(const std::string& agent_id, const std::string& reason) {
  auto agent = agents_.find(agent_id);
  if (agent == agents_.end() || agent->second.session == kNoSession) return;
  displaced_.push_back({agent->second.session, reason});
  sessions_.erase(std::exchange(agent->second.session, kNoSession));
}

void EndpointRegistry::ClaimAgain(Agent& agent, const EndpointKey& key, MonotonicTime now) {
  auto claim = agent.refused.find(key);
  if (claim == agent.refused.end()) return;
  if (RegisteredEndpoint* endpoint = FindMutable(key)) AgeOne(*endpoint, now);
  if (!CheckEndpoint(agent.identity.agent_id, key, /*added=*/0).ok()) return;
  TakeEndpoint(agent.identity, claim->second.announced);
  agent.endpoints.push_back(key);
  agent.refused.erase(claim);
  ++generation_;
}

std::vector<EndpointRegistry::Refused> EndpointRegistry::RefusedOfSession(
    AgentSession session) const {
  std::vector<Refused> result;
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return result;
  for (const auto& [key, claim] : agents_.at(named->second).refused) {
    result.push_back({key, claim.reason});
  }
  return result;
}

size_t EndpointRegistry::refused_endpoints() const {
  size_t refused = 0;
  for (const auto& [session, agent_id] : sessions_) refused += agents_.at(agent_id).refused.size();
  return refused;
}

void EndpointRegistry::TakeEndpoint(const AnnouncedAgent& agent,
                                    const AnnouncedEndpoint& announced) {
  RegisteredEndpoint* found = FindMutable(announced.key);
  RegisteredEndpoint& endpoint = found != nullptr ? *found : Insert(announced.key);
  const bool same_agent = endpoint.agent_id == agent.agent_id;
  // The server goes on, warm, when its agent alone restarts.
  const bool same_server = same_agent && !announced.server_boot_id.empty() &&
                           endpoint.server_boot_id == announced.server_boot_id;
  if (!same_agent || endpoint.agent_boot_id != agent.boot_id) {
    endpoint.reports_needed = 1;
    if (!same_server) BeginIncarnation(endpoint);
  }
  // Without an address from the agent, the configured one stays.
  endpoint.trunk_address = agent.trunk_address;
  endpoint.server_address = announced.server_address;
  const bool by_trunk = specs_.at(announced.key.service).mode == ForwardingMode::kTunnel;
  const std::string& address = by_trunk ? agent.trunk_address : announced.server_address;
  if (!address.empty()) {
    endpoint.address_configured = false;
    endpoint.claim = ++last_claim_;
    if (std::exchange(endpoint.address, address) != address) ++generation_;
  }
  const std::string holder = std::exchange(endpoint.agent_id, agent.agent_id);
  if (holder != agent.agent_id) {
    Displace(holder, absl::StrCat("agent ", agent.agent_id, " at ", endpoint.address,
                                  " took endpoint ", announced.key.ToString(), " over while agent ",
                                  holder, " was silent; both have the same endpoint_id"));
    DropAgentWithoutEndpoints(holder);
  }
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
    const bool taken = std::find(agent.endpoints.begin(), agent.endpoints.end(), load.key) !=
                       agent.endpoints.end();
    if (!taken && !agent.refused.contains(load.key)) {
      return absl::InvalidArgumentError(absl::StrCat("endpoints of the report of agent ",
                                                     named->second, ": ", load.key.ToString(),
                                                     " was not in its announcement"));
    }
  }
  if (seq <= agent.seq) return Verdict::kOldSequence;
  agent.seq = seq;
  for (const ReportedLoad& load : loads) {
    ClaimAgain(agent, load.key, now);
    RegisteredEndpoint* endpoint = FindMutable(load.key);
    if (endpoint != nullptr && endpoint->agent_id == named->second) {
      TakeLoad(*endpoint, load, now);
    } else if (!agent.refused.contains(load.key)) {
      // It was removed meanwhile. A new announcement brings it back.
      Displace(std::string(named->second),
               absl::StrCat("endpoint ", load.key.ToString(), " was removed; announce it again"));
      return Verdict::kUnknownSession;
    }
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
  endpoint.stream_closed = false;
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

void EndpointRegistry::Disconnect(AgentSession session, MonotonicTime now) {
  auto named = sessions_.find(session);
  if (named == sessions_.end()) return;
  const std::string agent_id = named->second;
  Agent& agent = agents_.at(agent_id);
  agent.session = kNoSession;
  sessions_.erase(named);
  const absl::Duration prompt = std::min(report_interval_ + kPromptClose, kMaxPromptClose);
  for (const EndpointKey& key : agent.endpoints) {
    RegisteredEndpoint* endpoint = FindMutable(key);
    if (endpoint == nullptr || endpoint->agent_id != agent_id) continue;
    endpoint->stream_closed = endpoint->load.has_value() && now - endpoint->reported_at <= prompt;
  }
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

}  // namespace trunkline
