#include "dataplane/stats/traffic_stats.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace trunkline {
namespace {

// Returns the live value of `key`, or makes a new one.
template <typename Registry, typename... Args>
auto FindOrMake(Registry& registry, const typename Registry::Key& key, Args&&... args) {
  auto& entry = registry.values[key];
  auto found = entry.lock();
  if (found != nullptr) return found;
  found = std::make_shared<typename Registry::Value>(std::forward<Args>(args)...);
  entry = found;
  // Expired entries are dropped when they may be half of all, so that a look-up costs O(1)
  // amortized.
  if (registry.values.size() >= registry.sweep_at) {
    std::erase_if(registry.values, [](const auto& item) { return item.second.expired(); });
    registry.sweep_at = std::max(Registry::kLeastSweep, 2 * registry.values.size());
  }
  return found;
}

template <typename Registry>
auto Living(const Registry& registry) {
  std::vector<std::shared_ptr<typename Registry::Value>> result;
  for (const auto& [key, known] : registry.values) {
    if (auto stats = known.lock()) result.push_back(std::move(stats));
  }
  return result;
}

}  // namespace

std::shared_ptr<EndpointStats> TrafficStats::Endpoint(const std::string& service,
                                                      const std::string& endpoint_id) {
  absl::MutexLock lock(&mutex_);
  return FindOrMake(endpoints_, {service, endpoint_id}, service, endpoint_id, workers_.size());
}

std::shared_ptr<ListenerStats> TrafficStats::Listener(const std::string& service) {
  absl::MutexLock lock(&mutex_);
  return FindOrMake(listeners_, service, service, workers_.size());
}

std::vector<std::shared_ptr<EndpointStats>> TrafficStats::Endpoints() const {
  absl::MutexLock lock(&mutex_);
  return Living(endpoints_);
}

std::vector<std::shared_ptr<ListenerStats>> TrafficStats::Listeners() const {
  absl::MutexLock lock(&mutex_);
  return Living(listeners_);
}

int64_t TrafficStats::PipedBytes() const {
  int64_t sum = 0;
  for (const WorkerStats& worker : workers_) sum += worker.piped_bytes.Value();
  return sum;
}

int64_t TrafficStats::Clients() const {
  int64_t sum = 0;
  for (const WorkerStats& worker : workers_) sum += worker.clients.Value();
  return sum;
}

TrafficStats::Occupancy TrafficStats::CountOccupancy() const {
  Occupancy all;
  for (const WorkerStats& worker : workers_) {
    const int64_t clients = worker.clients.Value();
    all.clients += clients;
    all.sockets += clients + worker.direct_connections.Value() + worker.shared_connections.Value() +
                   worker.trunks.Value();
    all.reserved_sockets += worker.reserved_sockets.Value();
    all.sockets_short = all.sockets_short || worker.sockets_short.Value() > 0;
  }
  return all;
}

}  // namespace trunkline
