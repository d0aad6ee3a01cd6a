#include "dataplane/check/health_checker.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/event_loop.h"
#include "common/observe/log.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

// Time between the first checks of new endpoints: soon, and not more per pass than a loop notices.
constexpr absl::Duration kFirstSpacing = absl::Milliseconds(1);
// Postponed checks that begin per pass of the loop. Each connects, which costs 20 us.
constexpr size_t kBeginsPerPass = 64;

}  // namespace

HealthChecker::HealthChecker(EventLoop& loop, WorkerStats& stats, Owner& owner,
                             const Options& options)
    : loop_(loop), stats_(stats), owner_(owner), options_(options), random_(options.random_seed) {}

HealthChecker::~HealthChecker() {
  services_.clear();
  loop_.CancelFlush(this);
}

void HealthChecker::Update(const EndpointSet& set) {
  if (set.health_check == nullptr) return Remove(set.service);
  Service& service = services_[set.service];
  // Snapshots with new weights arrive twice per second.
  const bool same = set.layout != 0 && service.layout == set.layout &&
                    service.check == *set.health_check &&
                    service.proxy_protocol == set.send_proxy_protocol;
  if (same) return;
  service.layout = set.layout;
  service.check = *set.health_check;
  service.proxy_protocol = set.send_proxy_protocol;
  Rearrange(set, service);
}

void HealthChecker::Rearrange(const EndpointSet& set, Service& service) {
  Endpoints before = std::exchange(service.endpoints, {});
  std::vector<const Endpoint*> fresh;
  for (const Endpoint& endpoint : set.endpoints) {
    if (!IsOurs(set, endpoint)) continue;
    const auto known = before.find(endpoint.id);
    if (known == before.end() || !known->second->Is(endpoint)) {
      fresh.push_back(&endpoint);
      continue;
    }
    known->second->Update(set, endpoint);
    service.endpoints.insert(before.extract(known));
  }
  // Before the new ones, because an endpoint that moved has the same statistics.
  Drop(before);
  const absl::Duration spread =
      std::min(set.health_check->interval, kFirstSpacing * static_cast<double>(fresh.size()));
  CheckedEndpoint::Owner& owner = *this;
  for (const Endpoint* endpoint : fresh) {
    service.endpoints[endpoint->id] = std::make_unique<CheckedEndpoint>(
        loop_, owner, set, *endpoint, spread * random_.Uniform(), random_.Next());
  }
}

bool HealthChecker::IsOurs(const EndpointSet& set, const Endpoint& endpoint) const {
  const size_t hash = std::hash<std::string>()(absl::StrCat(set.service, "/", endpoint.id));
  return hash % options_.workers == options_.worker;
}

void HealthChecker::Remove(const std::string& service) {
  const auto found = services_.find(service);
  if (found == services_.end()) return;
  Endpoints endpoints = std::move(found->second.endpoints);
  services_.erase(found);
  Drop(endpoints);
}

void HealthChecker::Drop(Endpoints& endpoints) {
  for (auto& [id, endpoint] : endpoints) {
    postponed_.erase(endpoint->ticket());
    const std::string service = endpoint->stats().service;
    const bool unhealthy = endpoint->stats().health.unhealthy();
    endpoint.reset();
    if (unhealthy) owner_.OnHealthChanged(service, id);
  }
  endpoints.clear();
}

// After a pause of the process, the checks of all endpoints are due in one pass.
bool HealthChecker::HasTurn() {
  if (pass_ != loop_.now()) {
    pass_ = loop_.now();
    begins_in_pass_ = 0;
  }
  return connections_ < options_.max_connections && begins_in_pass_ < kBeginsPerPass;
}

void HealthChecker::CountBegin() {
  ++connections_;
  ++begins_in_pass_;
  stats_.check_connections.Add(1);
}

bool HealthChecker::TakeConnection(CheckedEndpoint& endpoint) {
  if (postponed_.empty() && HasTurn()) {
    CountBegin();
    return true;
  }
  endpoint.set_ticket(++last_ticket_);
  postponed_.emplace(endpoint.ticket(), &endpoint);
  if (connections_ < options_.max_connections) {
    loop_.RequestFlush(this);
    return false;
  }
  stats_.checks_postponed.Add();
  if (const auto more = postponed_log_.Admit(loop_.now())) {
    LogWarn(
        "health checks wait: all {} connections of a worker for them are in use; endpoints are "
        "checked less often than configured; raise the limit on open files, or lower the timeout "
        "of the checks{}",
        options_.max_connections, *more);
  }
  return false;
}

// The next check begins in the flush, because the last one may have ended inside its begin.
void HealthChecker::ReturnConnection() {
  --connections_;
  stats_.check_connections.Add(-1);
  if (!postponed_.empty()) loop_.RequestFlush(this);
}

void HealthChecker::OnFlush() {
  while (!postponed_.empty() && HasTurn()) {
    CheckedEndpoint* const endpoint = postponed_.begin()->second;
    postponed_.erase(postponed_.begin());
    endpoint->set_ticket(0);
    CountBegin();
    endpoint->Begin();
  }
  if (!postponed_.empty() && connections_ < options_.max_connections) loop_.RequestFlush(this);
}

void HealthChecker::OnHealthChanged(CheckedEndpoint& endpoint) {
  owner_.OnHealthChanged(endpoint.stats().service, endpoint.stats().endpoint_id);
}

void HealthChecker::OnNoSocket(const CheckedEndpoint& endpoint, const std::string& shortage) {
  stats_.checks_postponed.Add();
  if (const auto more = no_socket_log_.Admit(loop_.now())) {
    LogWarn(
        "the health check of endpoint {} of service {} could not begin: {}; its last result stays; "
        "raise the limit on open files, or widen net.ipv4.ip_local_port_range{}",
        endpoint.stats().endpoint_id, endpoint.stats().service, shortage, *more);
  }
}

}  // namespace trunkline
