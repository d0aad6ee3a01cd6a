// Restores the registry from the state file; endpoint_registry.cc has the rest of it.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/limits.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/stored_state.h"

namespace trunkline {
namespace {

std::string OrNone(const std::string& text) { return text.empty() ? "none" : text; }

}  // namespace

std::vector<std::string> EndpointRegistry::Restore(const StoredState& stored, MonotonicTime now) {
  std::vector<std::string> notes;
  for (const StoredEndpoint& old : stored.endpoints) RestoreEndpoint(old, now, &notes);
  for (const StoredAdmin& admin : stored.admin) RestoreAdmin(admin, &notes);
  return notes;
}

void EndpointRegistry::RestoreEndpoint(const StoredEndpoint& old, MonotonicTime now,
                                       std::vector<std::string>* notes) {
  const std::string name = old.key.ToString();
  if (!specs_.contains(old.key.service) || size_ >= kMaxClusterEndpoints) return;
  const bool announced = !old.agent_boot_id.empty();
  RegisteredEndpoint* found = FindMutable(old.key);
  if (found == nullptr && !announced) {
    notes->push_back(absl::StrCat("endpoint ", name, " at ", OrNone(old.address),
                                  " leaves: the configuration no longer names it, and it has no "
                                  "agent"));
    return;
  }
  if (found == nullptr && old.configured.has_value()) {
    notes->push_back(absl::StrCat("endpoint ", name,
                                  " is no longer in the configuration; it stays because agent ",
                                  old.agent_id, " announced it"));
  }
  RegisteredEndpoint& endpoint = found != nullptr ? *found : Insert(old.key);
  const StoredConfiguration before = old.configured.value_or(StoredConfiguration{});
  const StoredConfiguration is = endpoint.configured.value_or(StoredConfiguration{});
  if (is.weight != before.weight) {
    notes->push_back(absl::StrCat("endpoint ", name, ": the configuration changed its weight from ",
                                  before.weight, " to ", is.weight, " (0 is none)"));
  }
  const ForwardingMode mode = specs_.at(old.key.service).mode;
  const bool same_mode = old.mode == mode;
  const std::string& other =
      mode == ForwardingMode::kTunnel ? old.trunk_address : old.server_address;
  const std::string& last = same_mode ? old.address : other;
  const bool edited = is.address != before.address;
  // Without an edit, the address that an agent announced is more likely to be current than the
  // configured one.
  const bool of_agent = !same_mode || !old.address_configured;
  const bool keep = announced && of_agent && !last.empty();
  if (keep && (!edited || is.address.empty())) {
    endpoint.address = last;
    endpoint.address_configured = false;
  }
  if (edited && endpoint.address != old.address) {
    notes->push_back(absl::StrCat("endpoint ", name, ": the configuration changed its address to ",
                                  OrNone(endpoint.address), "; the state file had ",
                                  OrNone(old.address)));
  }
  if (!announced) return;
  endpoint.agent_id = old.agent_id;
  endpoint.agent_boot_id = old.agent_boot_id;
  endpoint.server_boot_id = old.server_boot_id;
  endpoint.trunk_address = old.trunk_address;
  endpoint.server_address = old.server_address;
  endpoint.cores = old.cores;
  if (is.weight == 0 && before.weight == 0) endpoint.operator_capacity = old.operator_capacity;
  endpoint.restored = true;
  endpoint.reported_at = now;
  endpoint.state = EndpointCondition::kStale;
  endpoint.incarnation = 1;
}

void EndpointRegistry::RestoreAdmin(const StoredAdmin& admin, std::vector<std::string>* notes) {
  if (!SetAdmin(admin.key, {admin.draining, admin.pin}).ok()) return;
  if (FindMutable(admin.key) != nullptr) return;
  const std::string& service = admin.key.service;
  const std::string why = specs_.contains(service) ? "the service has no such endpoint now"
                                                   : "the configuration has no such service now";
  const std::string arguments = absl::StrCat(service, " ", admin.key.endpoint_id);
  if (admin.draining) {
    notes->push_back(absl::StrCat("the drain of ", admin.key.ToString(), " has no effect: ", why,
                                  ". It applies if the endpoint returns; to end it: trunkctl "
                                  "undrain ",
                                  arguments));
  }
  if (admin.pin.has_value()) {
    notes->push_back(absl::StrCat(
        "the pin of ", admin.key.ToString(), " to ", *admin.pin, " has no effect: ", why,
        ". It applies if the endpoint returns; to end it: trunkctl unpin ", arguments));
  }
}

}  // namespace trunkline
