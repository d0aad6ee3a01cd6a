#include "controller/core/proxy_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"

namespace trunkline {

void ProxyTable::Connect(const std::string& proxy_id, const std::string& version, uint32_t workers,
                         SnapshotVersion have, MonotonicTime now) {
  absl::MutexLock lock(&mutex_);
  Forget(now);
  if (!proxies_.contains(proxy_id) && proxies_.size() >= kMaxProxies) {
    auto oldest = proxies_.end();
    for (auto it = proxies_.begin(); it != proxies_.end(); ++it) {
      if (it->second.connected) continue;
      if (oldest == proxies_.end() || it->second.last_seen < oldest->second.last_seen) oldest = it;
    }
    if (oldest == proxies_.end()) return;
    proxies_.erase(oldest);
  }
  CountHealth(proxy_id, {});
  proxies_[proxy_id] = {.proxy_id = proxy_id,
                        .version = version,
                        .workers = workers,
                        .connected = true,
                        .acked = have,
                        .last_seen = now};
}

ProxyRecord* ProxyTable::Find(const std::string& proxy_id, MonotonicTime now) {
  auto found = proxies_.find(proxy_id);
  if (found == proxies_.end()) return nullptr;
  found->second.last_seen = now;
  return &found->second;
}

void ProxyTable::Disconnect(const std::string& proxy_id, MonotonicTime now) {
  absl::MutexLock lock(&mutex_);
  ProxyRecord* proxy = Find(proxy_id, now);
  if (proxy == nullptr) return;
  proxy->connected = false;
  proxy->traffic = {};
  CountHealth(proxy_id, {});
}

void ProxyTable::Acked(const std::string& proxy_id, SnapshotVersion have, const std::string& error,
                       MonotonicTime now) {
  absl::MutexLock lock(&mutex_);
  if (!error.empty()) ++nacks_;
  ProxyRecord* proxy = Find(proxy_id, now);
  if (proxy == nullptr) return;
  proxy->acked = have;
  proxy->last_error = error;
}

ProxyTable::TrafficChanges ProxyTable::Traffic(const std::string& proxy_id, ProxyTraffic traffic,
                                               const Knows& knows, MonotonicTime now) {
  std::erase_if(traffic.endpoints, [&](const auto& endpoint) { return !knows(endpoint.key); });
  absl::MutexLock lock(&mutex_);
  for (const ProxyTraffic::Endpoint& endpoint : traffic.endpoints) {
    if (endpoint.errors == 0) continue;
    if (!errors_.contains(endpoint.key) && errors_.size() >= kMaxEndpoints) {
      std::erase_if(errors_, [&](const auto& counted) { return !knows(counted.first); });
      if (errors_.size() >= kMaxEndpoints) continue;
    }
    errors_[endpoint.key] += endpoint.errors;
  }
  ProxyRecord* proxy = Find(proxy_id, now);
  if (proxy == nullptr) return {.known = std::move(traffic)};
  CountHealth(proxy_id, traffic.endpoints);
  TrafficChanges changes = {.agreed = CompareHealth(traffic.endpoints, knows)};
  changes.services_refused = proxy->traffic.services_refused != traffic.services_refused;
  std::vector<ProxyTraffic::Endpoint> endpoints = std::exchange(traffic.endpoints, {});
  proxy->traffic = traffic;
  std::ranges::copy_if(endpoints, std::back_inserter(proxy->traffic.endpoints),
                       &ProxyTraffic::Endpoint::ejected);
  changes.known = std::move(traffic);
  changes.known.endpoints = std::move(endpoints);
  return changes;
}

void ProxyTable::CountHealth(const std::string& proxy_id,
                             const std::vector<ProxyTraffic::Endpoint>& endpoints) {
  Checked checked;
  for (const ProxyTraffic::Endpoint& endpoint : endpoints) {
    if (!endpoint.healthy) continue;
    const auto health = healths_.try_emplace(endpoint.key).first;
    ++health->second.checked_by;
    health->second.healthy_by += *endpoint.healthy ? 1 : 0;
    checked.emplace_back(health, *endpoint.healthy);
  }
  // Afterwards, so that endpoints that are still checked keep their entries.
  auto entry = checked_.find(proxy_id);
  if (entry == checked_.end()) {
    if (checked.empty()) return;
    entry = checked_.try_emplace(proxy_id).first;
  }
  for (const auto& [health, healthy] : entry->second) {
    health->second.healthy_by -= healthy ? 1 : 0;
    if (--health->second.checked_by == 0) healths_.erase(health);
  }
  entry->second = std::move(checked);
  if (entry->second.empty()) checked_.erase(entry);
}

// A proxy that left is not compared: those that remain report about the endpoint within a second.
std::vector<AgreedHealth> ProxyTable::CompareHealth(
    const std::vector<ProxyTraffic::Endpoint>& endpoints, const Knows& knows) {
  std::vector<AgreedHealth> agreed;
  // Most services have no health checks.
  if (healths_.empty() && agreed_unhealthy_.empty()) return agreed;
  for (const ProxyTraffic::Endpoint& endpoint : endpoints) {
    const auto found = healths_.find(endpoint.key);
    const Health health = found != healths_.end() ? found->second : Health();
    const bool unhealthy = health.checked_by > 0 && health.healthy_by == 0;
    if (unhealthy == agreed_unhealthy_.contains(endpoint.key)) continue;
    agreed.push_back({endpoint.key, unhealthy, health.checked_by, health.healthy_by});
    if (!unhealthy) {
      agreed_unhealthy_.erase(endpoint.key);
      continue;
    }
    if (agreed_unhealthy_.size() >= kMaxEndpoints) {
      std::erase_if(agreed_unhealthy_, [&](const EndpointKey& key) { return !knows(key); });
    }
    agreed_unhealthy_.insert(endpoint.key);
  }
  return agreed;
}

void ProxyTable::Forget(MonotonicTime now) {
  std::erase_if(proxies_, [&](const auto& entry) {
    return !entry.second.connected && now - entry.second.last_seen > kKeepAfterDisconnect;
  });
}

std::vector<ProxyRecord> ProxyTable::List(MonotonicTime now) {
  absl::MutexLock lock(&mutex_);
  Forget(now);
  std::vector<ProxyRecord> list;
  for (const auto& [id, proxy] : proxies_) list.push_back(proxy);
  return list;
}

std::map<EndpointKey, EndpointVerdict> ProxyTable::Verdicts() const {
  absl::MutexLock lock(&mutex_);
  std::map<EndpointKey, EndpointVerdict> verdicts;
  for (const auto& [key, errors] : errors_) verdicts[key].errors = errors;
  for (const auto& [key, health] : healths_) {
    verdicts[key].checked_by = health.checked_by;
    verdicts[key].healthy_by = health.healthy_by;
  }
  for (const auto& [id, proxy] : proxies_) {
    for (const ProxyTraffic::Endpoint& endpoint : proxy.traffic.endpoints) {
      if (endpoint.ejected) ++verdicts[endpoint.key].ejected_by;
    }
  }
  return verdicts;
}

size_t ProxyTable::connected() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<size_t>(std::count_if(proxies_.begin(), proxies_.end(),
                                           [](const auto& p) { return p.second.connected; }));
}

uint64_t ProxyTable::nacks() const {
  absl::MutexLock lock(&mutex_);
  return nacks_;
}

}  // namespace trunkline
