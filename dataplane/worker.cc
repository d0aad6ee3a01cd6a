#include "dataplane/worker.h"

#include <pthread.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "dataplane/direct/direct_carrier.h"
#include "dataplane/direct/direct_flow.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/listen/header_flow.h"
#include "dataplane/listen/listener.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/stats/reachability.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/tunnel/trunk_pool.h"
#include "dataplane/tunnel/tunnel_flow.h"

namespace trunkline {
namespace {

// Interval of the search for unused carriers and routers, which only cost memory.
constexpr absl::Duration kSweepInterval = absl::Seconds(1);
// Carriers per sweep, so that thousands of them do not block the loop.
constexpr size_t kCarriersPerSweep = 1024;
// Time that clients of a service have to finish after its mode or message options have changed.
constexpr absl::Duration kOutdatedGrace = absl::Seconds(10);

}  // namespace

// One service in this worker: its router and, while it is in the snapshot, its listening sockets.
struct Worker::ServiceSlot final : public Listener::Acceptor, public HeaderFlow::Opener {
  ServiceSlot(Worker& worker, std::shared_ptr<const EndpointSet> set)
      : worker(worker),
        share(worker.ShareOf(*set)),
        router(worker.context_, worker,
               {.max_connections = share.connections, .random_seed = worker.random_.Next()},
               std::move(set)) {}

  bool HasRoom() override { return worker.HasRoom(router.set()) && router.HasRoom(); }
  std::unique_ptr<Flow> NewFlow(UniqueFd client) override {
    return worker.MakeFlow(*this, std::move(client));
  }
  bool Carries() const { return !share.limited || share.connections > 0; }
  void OnClient(UniqueFd client) override {
    if (Carries()) return worker.AcceptClient(*this, std::move(client));
    worker.options_.hand_over(share.taker, router.set().service, std::move(client));
  }

  Worker& worker;
  const ConnectionShare share;
  ServiceRouter router;
  // By address: usually one; more if a predecessor with more workers handed over its sockets.
  std::map<std::string, std::vector<std::unique_ptr<Listener>>> listeners;
  bool in_table = false;
  MonotonicTime ends_at;  // when an outdated slot's flows are reset
};

Worker::Worker(Options options, TrafficStats& stats)
    : options_(std::move(options)),
      all_stats_(stats),
      stats_(&stats.worker(options_.index)),
      windows_(options_.window_growth_bytes),
      memory_(loop_,
              {.source = options_.memory, .worker = options_.index, .workers = options_.workers},
              *this, *stats_, windows_),
      random_(options_.random_seed),
      dialer_(loop_, *stats_, *this, options_.keepalive),
      checker_(loop_, *stats_, *this,
               {.worker = options_.index,
                .workers = options_.workers,
                .max_connections = std::max<size_t>(1, options_.descriptors.checks_per_worker),
                .random_seed = ~options_.random_seed}),
      context_{.loop = loop_,
               .stats = *stats_,
               .dialer = dialer_,
               .lingering_closes = lingering_,
               .index = options_.index,
               .workers = options_.workers,
               .max_pipes = options_.descriptors.pipes_per_worker,
               .connection_log = options_.connection_log} {
  loop_.set_max_coalescing_delay(options_.max_coalescing_delay);
  loop_.RecordPasses(&stats_->loop_passes);
  loop_.Arm(sweep_timer_, kSweepInterval);
  thread_ = std::thread([this] { loop_.Run(); });
  // Shown by top and perf. Thread names have at most 15 characters.
  pthread_setname_np(thread_.native_handle(), absl::StrCat("worker-", options_.index).c_str());
}

Worker::~Worker() {
  Stop();
  // Routers release their carriers. The loop outlives both.
  services_.clear();
  outdated_.clear();
  carriers_.clear();
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  loop_.Post([this] {
    for (const auto& [name, slot] : services_) {
      StopListening(*slot);
    }
    // Runs in a later pass: this pass may still have a listener's event, and clients that it
    // accepts must be reset as well.
    ResetFlows();
    loop_.Stop();
  });
  thread_.join();
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
    checker_.Update(*set);
  }
  for (const auto& [name, slot] : services_) {
    if (slot->in_table) continue;
    StopListening(*slot);
    checker_.Remove(name);
  }
}

Worker::ServiceSlot& Worker::SlotFor(const std::shared_ptr<const EndpointSet>& set) {
  std::unique_ptr<ServiceSlot>& slot = services_[set->service];
  if (slot != nullptr && slot->router.set().forwarding_key == set->forwarding_key) return *slot;
  std::unique_ptr<ServiceSlot> old = std::move(slot);
  slot = std::make_unique<ServiceSlot>(*this, set);
  if (old != nullptr) {
    // New clients use the new options on the same ports; existing clients have some time to finish.
    ListenerCell* const cell = &set->stats->cell(options_.index);
    for (const auto& [address, listeners] : old->listeners) {
      for (const auto& listener : listeners) {
        slot->listeners[address].push_back(
            std::make_unique<Listener>(loop_, listener->TakeSocket(), slot.get(), cell));
      }
    }
    StopListening(*old);
    old->ends_at = loop_.now() + kOutdatedGrace;
    outdated_.push_back(std::move(old));
  }
  return *slot;
}

// With memory or descriptors short, clients wait for others to leave; without others they would
// wait for ever, so the first client is always accepted. In message and direct mode, a client also
// needs a descriptor for an upstream connection; in message mode only until it shares one.
bool Worker::HasRoom(const EndpointSet& set) const {
  const TrafficStats::Occupancy now = all_stats_.CountOccupancy();
  if (now.clients == 0) return true;
  const auto sockets = static_cast<int64_t>(SocketsPerClient(set));
  return now.clients < static_cast<int64_t>(options_.max_clients) &&
         now.sockets + now.reserved_sockets + sockets <=
             static_cast<int64_t>(options_.descriptors.sockets) &&
         !now.sockets_short && memory_.takes_clients();
}

// Admitted clients may use the reserved descriptors; new clients may not.
bool Worker::HasSocket() const {
  const DescriptorPlan& plan = options_.descriptors;
  return all_stats_.CountOccupancy().sockets <
         static_cast<int64_t>(plan.sockets + plan.late_sockets);
}

// Dials trunks first, because many flows wait for each.
void Worker::DialAgain() {
  for (const auto& [name, carrier] : carriers_) carrier->DialAgain();
  for (const auto& [name, slot] : services_) slot->router.ServePending();
  for (const auto& slot : outdated_) slot->router.ServePending();
}

// Returns this worker's part of `bytes`, in proportion to its buffered bytes; an equal part if no
// worker has any.
int64_t Worker::OwnPartOf(int64_t bytes) const {
  const auto buffered = [](const WorkerStats& stats) {
    return static_cast<double>(stats.to_client_buffered_bytes.Value() +
                               stats.from_client_buffered_bytes.Value());
  };
  double all = 0;
  for (const WorkerStats& worker : all_stats_.workers()) all += buffered(worker);
  const double part = all > 0 ? std::min(1.0, buffered(*stats_) / all)
                              : 1.0 / static_cast<double>(options_.workers);
  return static_cast<int64_t>(part * static_cast<double>(bytes));
}

MemoryGuard::Owner::Shed Worker::ShedClients(int64_t bytes, bool urgent) {
  std::vector<Flow*> flows;
  std::vector<Holding> holdings;
  for (const std::unique_ptr<Flow>& flow : flows_) {
    const Flow::Buffered buffered = flow->buffered();
    const size_t bytes_buffered = buffered.bytes + buffered.kernel_bytes;
    if (bytes_buffered < kLeastShedBytes) continue;
    flows.push_back(flow.get());
    holdings.push_back({.bytes = bytes_buffered, .age = loop_.now() - buffered.since});
  }
  MemoryGuard::Owner::Shed shed;
  // Flows that are reset stay allocated until the end of the pass.
  for (const size_t i : ChooseToShed(holdings, OwnPartOf(bytes), urgent)) {
    flows[i]->Shed();
    ++shed.clients;
    shed.bytes += static_cast<int64_t>(holdings[i].bytes);
  }
  return shed;
}

void Worker::Listen(const std::string& service, const std::string& address,
                    std::vector<UniqueFd> sockets) {
  // std::function needs a copyable closure.
  auto shared = std::make_shared<std::vector<UniqueFd>>(std::move(sockets));
  loop_.Post([this, service, address, shared] {
    const auto found = services_.find(service);
    if (found == services_.end()) return;
    ServiceSlot& slot = *found->second;
    StopListening(slot, address);
    ListenerCell* const cell = &slot.router.set().stats->cell(options_.index);
    for (UniqueFd& socket : *shared) {
      slot.listeners[address].push_back(
          std::make_unique<Listener>(loop_, std::move(socket), &slot, cell));
    }
  });
}

void Worker::Adopt(const std::string& service, UniqueFd client) {
  auto shared = std::make_shared<UniqueFd>(std::move(client));
  loop_.Post([this, service, shared] {
    const auto found = services_.find(service);
    const bool carries = found != services_.end() && found->second->Carries();
    if (!carries) return CloseWithReset(std::move(*shared));
    AcceptClient(*found->second, std::move(*shared));
  });
}

void Worker::OnHealthChanged(const std::string& service, const std::string& endpoint_id) {
  options_.share_health(service, endpoint_id);
}

void Worker::ReadHealth(const std::string& service, const std::string& endpoint_id) {
  loop_.Post([this, service, endpoint_id] {
    const auto found = services_.find(service);
    if (found != services_.end()) found->second->router.OnHealthChanged(endpoint_id);
    for (const auto& slot : outdated_) {
      if (slot->router.set().service == service) slot->router.OnHealthChanged(endpoint_id);
    }
  });
}

ConnectionShare Worker::ShareOf(const EndpointSet& set) const {
  return trunkline::ShareOf(set, options_.index, options_.workers);
}

void Worker::StopListening(const std::string& service, const std::string& address) {
  loop_.Post([this, service, address] {
    const auto it = services_.find(service);
    if (it != services_.end()) StopListening(*it->second, address);
  });
}

void Worker::WhenSettled(std::function<void()> done) {
  loop_.Post([this, done = std::move(done)]() mutable { loop_.Post(std::move(done)); });
}

void Worker::StopListening(ServiceSlot& slot) {
  while (!slot.listeners.empty()) StopListening(slot, slot.listeners.begin()->first);
}

void Worker::StopListening(ServiceSlot& slot, const std::string& address) {
  auto stopped = slot.listeners.extract(address);
  if (stopped.empty()) return;
  for (auto& listener : stopped.mapped()) loop_.Retire(std::move(listener));
}

void Worker::ResetFlows() {
  loop_.Post([this] {
    while (!flows_.empty()) flows_.back()->Shutdown();
  });
}

std::unique_ptr<Flow> Worker::MakeFlow(ServiceSlot& slot, UniqueFd client) {
  const EndpointSet& set = slot.router.set();
  switch (set.mode) {
    case ForwardingMode::kTunnel:
      return std::make_unique<TunnelFlow>(loop_, std::move(client), slot.router, set.limits);
    case ForwardingMode::kMessage:
      return std::make_unique<MessageFlow>(loop_, std::move(client), slot.router, set);
    case ForwardingMode::kDirect:
      return std::make_unique<DirectFlow>(loop_, std::move(client), slot.router, set.limits);
  }
  return nullptr;
}

// Returns null if the client is not admitted.
std::unique_ptr<Flow> Worker::MakeFirstFlow(ServiceSlot& slot, UniqueFd client) {
  const EndpointSet& set = slot.router.set();
  if (set.accept_proxy_protocol) {
    return std::make_unique<HeaderFlow>(loop_, std::move(client), slot.router, set.limits, slot);
  }
  if (!AsksForOrigin(set)) return MakeFlow(slot, std::move(client));
  std::unique_ptr<ClientOrigin> origin;
  if (!Admit(set, AddressesOf(client.get()), &origin)) {
    stats_->source_limited.Add();
    CloseWithReset(std::move(client));
    return nullptr;
  }
  std::unique_ptr<Flow> flow = MakeFlow(slot, std::move(client));
  flow->set_origin(std::move(origin));
  return flow;
}

void Worker::AcceptClient(ServiceSlot& slot, UniqueFd client) {
  std::unique_ptr<FlowRecord> record = slot.router.NewRecord(client.get());
  std::unique_ptr<Flow> flow = MakeFirstFlow(slot, std::move(client));
  if (flow == nullptr) {
    if (record != nullptr) slot.router.LogEnd(*record, FlowEnd::kSourceLimit);
    return;
  }
  flow->set_record(std::move(record));
  flow->table_index = flows_.size();
  Flow& borrowed = *flow;
  flows_.push_back(std::move(flow));
  slot.router.Join(borrowed);
}

void Worker::OnFlowGone(Flow& flow) {
  const size_t index = flow.table_index;
  // Direct flows share no upstream connection, so batching does not help them.
  if (flow.router().set().mode != ForwardingMode::kDirect) {
    loop_.NoteFlowEnd(loop_.now() - flow.accepted_at());
  }
  loop_.Retire(std::move(flows_[index]));
  if (index + 1 < flows_.size()) {
    flows_[index] = std::move(flows_.back());
    flows_[index]->table_index = index;
  }
  flows_.pop_back();
  NotifyIfEmpty();
}

void Worker::WhenEmpty(std::function<void()> done) {
  loop_.Post([this, done = std::move(done)]() mutable {
    when_empty_.push_back(std::move(done));
    NotifyIfEmpty();
  });
}

void Worker::NotifyIfEmpty() {
  if (!flows_.empty()) return;
  for (const auto& done : std::exchange(when_empty_, {})) done();
}

void Worker::OnFlowReplaced(Flow& flow, std::unique_ptr<Flow> by) {
  by->table_index = flow.table_index;
  loop_.Retire(std::exchange(flows_[by->table_index], std::move(by)));
}

Carrier& Worker::CarrierFor(const EndpointSet& set, const Endpoint& endpoint) {
  const bool by_agent = set.mode == ForwardingMode::kTunnel;
  std::unique_ptr<Carrier>& carrier =
      carriers_[by_agent ? endpoint.address
                         : absl::StrCat(set.service, "/", endpoint.id, "/", endpoint.address, "/",
                                        set.forwarding_key)];
  if (carrier == nullptr) carrier = MakeCarrier(set, endpoint);
  return *carrier;
}

std::unique_ptr<Carrier> Worker::MakeCarrier(const EndpointSet& set, const Endpoint& endpoint) {
  const std::string name = absl::StrCat("endpoint ", endpoint.id, " of service ", set.service);
  switch (set.mode) {
    case ForwardingMode::kTunnel: {
      TrunkPool::Options options = options_.trunks;
      options.window_budget = &windows_;
      return std::make_unique<TrunkPool>(loop_, dialer_, endpoint.address, options, stats_,
                                         random_.Next());
    }
    case ForwardingMode::kMessage: {
      const SharedPool::Options options = {.connection = set.message->connection,
                                           .max_shared = set.message->max_shared,
                                           .max_connections = ShareOf(set).connections,
                                           .stats = endpoint.stats,
                                           .worker = options_.index,
                                           .address = Reachability::KeyOf(endpoint.address)};
      return std::make_unique<SharedPool>(loop_, dialer_, name, options,
                                          endpoint.stats->budget(options_.index), &stats_->shared,
                                          &stats_->shared_connections, random_.Next());
    }
    case ForwardingMode::kDirect:
      return std::make_unique<DirectCarrier>(loop_, dialer_, name, endpoint.address, endpoint.stats,
                                             random_.Next());
  }
  return nullptr;
}

void Worker::SweepUnused() {
  std::erase_if(services_, [](const auto& entry) {
    const ServiceSlot& slot = *entry.second;
    return !slot.in_table && slot.listeners.empty() && slot.router.clients() == 0;
  });
  EndOutdated();
  SweepCarriers();
  loop_.Arm(sweep_timer_, kSweepInterval);
}

// Starts where the last sweep stopped.
void Worker::SweepCarriers() {
  auto next = carriers_.lower_bound(sweep_from_);
  for (size_t i = 0; i < kCarriersPerSweep && next != carriers_.end(); ++i) {
    next = next->second->idle() ? carriers_.erase(next) : std::next(next);
  }
  sweep_from_ = next != carriers_.end() ? next->first : std::string();
}

void Worker::EndOutdated() {
  for (const auto& slot : outdated_) {
    if (slot->router.clients() == 0 || loop_.now() < slot->ends_at) continue;
    // Iterates backwards, because a flow that ends gives its place to the last one.
    for (size_t i = flows_.size(); i-- > 0;) {
      if (i < flows_.size() && &flows_[i]->router() == &slot->router) flows_[i]->Shutdown();
    }
  }
  std::erase_if(outdated_, [](const auto& slot) { return slot->router.clients() == 0; });
}

}  // namespace trunkline
