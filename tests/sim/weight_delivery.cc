#include "tests/sim/weight_delivery.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/time/time.h"
#include "controller/core/snapshot_publisher.h"
#include "dataplane/control/snapshot_sequence.h"
#include "dataplane/table/alias_table.h"
#include "tests/sim/controller.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/proxy.h"
#include "tests/sim/scenario.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline::sim {
namespace {

enum Kind : uint32_t { kArrives, kRelax };

constexpr int kProxyBits = 16;

}  // namespace

WeightDelivery::WeightDelivery(EventQueue& queue,
                               const std::vector<std::unique_ptr<Proxy>>& proxies,
                               const Scenario& scenario, uint64_t seed)
    : queue_(queue),
      proxies_(proxies),
      scenario_(scenario),
      random_(SeedFor(seed, "delivery")),
      shares_(scenario.servers.size(), 0) {}

std::vector<double> WeightDelivery::WeightsOf(const SnapshotService& snapshot) const {
  std::vector<double> weights(scenario_.servers.size(), 0);
  size_t next = 0;
  for (const SnapshotEndpoint& endpoint : snapshot.endpoints) {
    while (scenario_.servers[next].name != endpoint.endpoint_id) ++next;
    weights[next] = endpoint.draining ? 0 : endpoint.weight;
  }
  return weights;
}

void WeightDelivery::SetShares(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < weights.size(); ++i) shares_[i] = sum > 0 ? weights[i] / sum : 0;
}

void WeightDelivery::OnSnapshot(const ServiceSnapshot& snapshot) {
  newest_ = snapshot;
  if (lost_at_ >= 0) connects_from_ = queue_.now();
  lost_at_ = -1;
  ++silence_;
  const std::vector<double> weights = WeightsOf(*snapshot);
  SetShares(weights);
  applied_.resize(proxies_.size(), 0);
  sent_.push_back({std::make_shared<const AliasTable>(weights), proxies_.size()});
  const uint64_t number = first_sent_ + sent_.size() - 1;
  const bool reconnecting = connects_from_ > 0 && queue_.now() < connects_from_ + kReconnect;
  const SimTime most = reconnecting ? kReconnect : kMostDelay;
  for (size_t i = 0; i < proxies_.size(); ++i) {
    const double delay = static_cast<double>(most - kLeastDelay) * random_.Uniform();
    queue_.Add(queue_.now() + kLeastDelay + static_cast<SimTime>(delay), *this, kArrives,
               (number << kProxyBits) | i);
  }
}

void WeightDelivery::OnControllerLost() {
  lost_at_ = queue_.now();
  queue_.Add(queue_.now() + kRefresh, *this, kRelax, ++silence_);
}

void WeightDelivery::OnEvent(uint32_t kind, uint64_t value) {
  if (kind == kRelax) {
    if (value == silence_) Relax();
    return;
  }
  const size_t proxy = value & ((1 << kProxyBits) - 1);
  const uint64_t number = value >> kProxyBits;
  Sent& sent = sent_[number - first_sent_];
  if (applied_[proxy] < number + 1) {
    applied_[proxy] = number + 1;
    proxies_[proxy]->SetWeights(sent.table);
  }
  --sent.left;
  while (!sent_.empty() && sent_.front().left == 0) {
    sent_.pop_front();
    ++first_sent_;
  }
}

void WeightDelivery::Relax() {
  queue_.Add(queue_.now() + kRefresh, *this, kRelax, silence_);
  const absl::Duration silence = absl::Nanoseconds(queue_.now() - lost_at_);
  if (!IsRelaxed(silence) || newest_ == nullptr) return;
  v1::Snapshot snapshot;
  v1::Service& service = *snapshot.add_services();
  for (const SnapshotEndpoint& endpoint : newest_->endpoints) {
    v1::Endpoint& copy = *service.add_endpoints();
    copy.set_endpoint_id(endpoint.endpoint_id);
    copy.set_weight(endpoint.weight);
    copy.set_capacity(endpoint.capacity);
    copy.set_draining(endpoint.draining);
  }
  const v1::Snapshot relaxed = RelaxedSnapshot(snapshot, silence);
  SnapshotService service_after = *newest_;
  for (size_t i = 0; i < service_after.endpoints.size(); ++i) {
    service_after.endpoints[i].weight = relaxed.services(0).endpoints(static_cast<int>(i)).weight();
  }
  const std::vector<double> weights = WeightsOf(service_after);
  SetShares(weights);
  const auto table = std::make_shared<const AliasTable>(weights);
  for (const std::unique_ptr<Proxy>& proxy : proxies_) proxy->SetWeights(table);
}

}  // namespace trunkline::sim
