#include "dataplane/traffic_stats.h"

namespace trunkline {

std::shared_ptr<EndpointStats> TrafficStats::Endpoint(const std::string& service,
                                                      const std::string& endpoint_id) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(endpoints_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<EndpointStats>& known = endpoints_[{service, endpoint_id}];
  std::shared_ptr<EndpointStats> stats = known.lock();
  if (stats == nullptr) {
    stats = std::make_shared<EndpointStats>(service, endpoint_id, workers_.size());
    known = stats;
  }
  return stats;
}

std::vector<std::shared_ptr<EndpointStats>> TrafficStats::Endpoints() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<EndpointStats>> result;
  for (const auto& [key, known] : endpoints_) {
    if (auto stats = known.lock()) result.push_back(std::move(stats));
  }
  return result;
}

}  // namespace trunkline
