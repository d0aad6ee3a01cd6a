#include "controller/core/snapshot_publisher.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controller/core/stored_state.h"

namespace trunkline {
namespace {

using ServicePtr = std::shared_ptr<const SnapshotService>;

const ServicePtr* FindService(const std::vector<ServicePtr>& services, const std::string& name) {
  auto found = std::lower_bound(
      services.begin(), services.end(), name,
      [](const ServicePtr& service, const std::string& n) { return service->name < n; });
  return found == services.end() || (*found)->name != name ? nullptr : &*found;
}

}  // namespace

SnapshotVersion FirstVersion(const std::optional<StoredState>& stored, uint64_t unix_seconds) {
  if (!stored.has_value()) return {unix_seconds, 1};
  if (stored->orderly) return {stored->epoch, stored->version + 1};
  return {std::max(stored->epoch + 1, unix_seconds), 1};
}

bool SnapshotPublisher::Publish(std::vector<ServicePtr> services) {
  auto snapshot = std::make_shared<ClusterSnapshot>();
  bool differs = current_ == nullptr || current_->services.size() != services.size();
  for (ServicePtr& service : services) {
    const ServicePtr* before =
        current_ == nullptr ? nullptr : FindService(current_->services, service->name);
    if (before != nullptr && (*before == service || **before == *service)) {
      snapshot->services.push_back(*before);
      continue;
    }
    differs = true;
    snapshot->services.push_back(std::move(service));
  }
  if (!differs) return false;
  snapshot->id = next_;
  Keep(std::move(snapshot));
  return true;
}

void SnapshotPublisher::RiseAbove(const SnapshotVersion& seen) {
  if (current_ == nullptr || seen <= current_->id) return;
  auto snapshot = std::make_shared<ClusterSnapshot>(*current_);
  snapshot->id = next_ = {seen.epoch + 1, 1};
  // A delta does not cross epochs.
  history_.clear();
  Keep(std::move(snapshot));
}

void SnapshotPublisher::Keep(std::shared_ptr<const ClusterSnapshot> snapshot) {
  current_ = std::move(snapshot);
  history_.push_back(current_);
  if (history_.size() > kHistory) history_.pop_front();
  ++next_.version;
}

}  // namespace trunkline
