#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

// The living value of `key`, or a new one; those that nobody holds are forgotten.
template <typename Map, typename... Args>
auto FindOrMake(Map& map, const typename Map::key_type& key, Args&&... args) {
  std::erase_if(map, [](const auto& entry) { return entry.second.expired(); });
  auto found = map[key].lock();
  if (found == nullptr) {
    using Stats = typename Map::mapped_type::element_type;
    found = std::make_shared<Stats>(std::forward<Args>(args)...);
    map[key] = found;
  }
  return found;
}

template <typename Map>
auto Living(const Map& map) {
  std::vector<std::shared_ptr<typename Map::mapped_type::element_type>> result;
  for (const auto& [key, known] : map) {
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
