#include "dataplane/worker.h"

#include <algorithm>

namespace trunkline {
namespace {

// Pools and routers that finished are looked for this often; they cost memory only.
constexpr absl::Duration kSweepInterval = absl::Seconds(1);

}  // namespace

// One service in this worker: its way to endpoints and, while it is in the snapshot, its listening socket.
struct Worker::ServiceSlot final : public Listener::Acceptor {
  ServiceSlot(Worker& worker, std::shared_ptr<const EndpointSet> set)
      : worker(worker),
        router(worker.loop_, worker, worker.stats_, worker.options_.index, worker.random_.Next(),
               std::move(set)) {}

  bool HasRoom() override { return worker.HasRoom() && router.HasRoom(); }
  void OnClient(UniqueFd client) override { worker.AcceptClient(*this, std::move(client)); }

  Worker& worker;
  ServiceRouter router;
  std::unique_ptr<Listener> listener;
  bool in_table = false;
};

Worker::Worker(Options options, TrafficStats& stats)
    : options_(options),
      all_stats_(stats),
      stats_(&stats.worker(options.index)),
      random_(options.random_seed) {
  loop_.Arm(sweep_timer_, kSweepInterval);
  thread_ = std::thread([this] { loop_.Run(); });
}

Worker::~Worker() {
  loop_.Post([this] {
    for (const auto& [name, slot] : services_) {
      if (slot->listener != nullptr) loop_.Retire(std::move(slot->listener));
    }
    // In the next pass: a listener's event may still be in the batch of this one, and what it accepts is reset as well.
    ResetFlows();
    loop_.Stop();
  });
  thread_.join();
  // Routers let go of their pools; the loop outlives both.
  services_.clear();
  pools_.clear();
}

void Worker::Apply(std::shared_ptr<const RoutingTable> table) {
  loop_.Post([this, table = std::move(table)] { ApplyOnLoop(*table); });
}

void Worker::ApplyOnLoop(const RoutingTable& table) {
  for (const auto& [name, slot] : services_) slot->in_table = false;
  for (const std::shared_ptr<const EndpointSet>& set : table.services) {
    ServiceSlot& slot = SlotFor(set);
    slot.in_table = true;
    if (&slot.router.set() != set.get()) slot.router.Update(set);
  }
  for (const auto& [name, slot] : services_) {
    if (slot->in_table) continue;
    if (slot->listener != nullptr) loop_.Retire(std::move(slot->listener));
  }
}

Worker::ServiceSlot& Worker::SlotFor(const std::shared_ptr<const EndpointSet>& set) {
  std::unique_ptr<ServiceSlot>& slot = services_[set->service];
  if (slot == nullptr) slot = std::make_unique<ServiceSlot>(*this, set);
  return *slot;
}

bool Worker::HasRoom() const {
  return all_stats_.Clients() < static_cast<int64_t>(options_.max_clients);
}

void Worker::Listen(const std::string& service, UniqueFd socket) {
  // std::function wants a copyable closure.
  auto shared = std::make_shared<UniqueFd>(std::move(socket));
  loop_.Post([this, service, shared] {
    const auto found = services_.find(service);
    if (found == services_.end()) return;
    ServiceSlot& slot = *found->second;
    if (slot.listener != nullptr) loop_.Retire(std::move(slot.listener));
    ListenerCell* const cell = &slot.router.set().stats->cell(options_.index);
    slot.listener = std::make_unique<Listener>(loop_, std::move(*shared), &slot, cell);
  });
}

void Worker::StopListening(const std::string& service) {
  loop_.Post([this, service] {
    const auto it = services_.find(service);
    if (it == services_.end() || it->second->listener == nullptr) return;
    loop_.Retire(std::move(it->second->listener));
  });
}

void Worker::ResetFlows() {
  loop_.Post([this] {
    while (!flows_.empty()) flows_.back()->Abort(StreamBridge::End::kShutdown);
  });
}

void Worker::AcceptClient(ServiceSlot& slot, UniqueFd client) {
  auto flow = std::make_unique<Flow>(loop_, std::move(client), slot.router, slot.router.set().limits);
  flow->table_index = flows_.size();
  Flow& borrowed = *flow;
  flows_.push_back(std::move(flow));
  slot.router.Dispatch(borrowed);
}

void Worker::OnFlowGone(Flow& flow) {
  const size_t index = flow.table_index;
  loop_.Retire(std::move(flows_[index]));
  if (index + 1 < flows_.size()) {
    flows_[index] = std::move(flows_.back());
    flows_[index]->table_index = index;
  }
  flows_.pop_back();
}

TrunkPool& Worker::PoolFor(const std::string& address) {
  std::unique_ptr<TrunkPool>& pool = pools_[address];
  if (pool == nullptr) {
    pool = std::make_unique<TrunkPool>(loop_, address, options_.trunks, stats_, random_.Next());
  }
  return *pool;
}

void Worker::SweepUnused() {
  std::erase_if(services_, [](const auto& entry) {
    const ServiceSlot& slot = *entry.second;
    return !slot.in_table && slot.listener == nullptr && slot.router.clients() == 0;
  });
  std::erase_if(pools_, [](const auto& entry) { return entry.second->idle(); });
  loop_.Arm(sweep_timer_, kSweepInterval);
}

}  // namespace trunkline
