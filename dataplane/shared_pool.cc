#include "dataplane/shared_pool.h"

#include <algorithm>
#include <utility>

#include "common/absl_view.h"
#include "common/log.h"

namespace trunkline {
namespace {

constexpr Backoff::Options kDialBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(5), .factor = 2.0};
// Requests under way on the least busy connection that make another one worth it. Few connections
// mean that more requests leave in one system call; many, that a slow request holds up fewer.
constexpr size_t kWorthAnother = 16;

}  // namespace

SharedPool::SharedPool(EventLoop& loop, std::string name, Options options,
                       std::shared_ptr<ConnectionBudget> budget, SharedCounters* counters,
                       Gauge* open, uint64_t random_seed)
    : loop_(loop),
      name_(std::move(name)),
      options_(std::move(options)),
      budget_(std::move(budget)),
      counters_(counters),
      open_(open),
      random_(random_seed),
      backoff_(kDialBackoff) {}

SharedPool::~SharedPool() { open_->Add(-static_cast<int64_t>(connections_.size())); }

void SharedPool::SetTarget(const SocketAddress& target) {
  target_ = target;
  if (std::exchange(has_target_, true)) return;
  NotifyUsers();
}

SharedConnection* SharedPool::Acquire() {
  SharedConnection* best = nullptr;
  for (const auto& connection : connections_) {
    if (!connection->HasRoom()) continue;
    if (best == nullptr || connection->in_flight() < best->in_flight()) best = connection.get();
  }
  const bool busy = best == nullptr || best->in_flight() >= kWorthAnother;
  if (busy && connections_.size() < options_.max_shared) {
    if (SharedConnection* fresh = Dial(); fresh != nullptr) best = fresh;
  }
  somebody_waits_ = somebody_waits_ || best == nullptr;
  return best;
}

SharedConnection* SharedPool::Dial() {
  if (!has_target_ || !used()) return nullptr;
  ConnectionLease lease(budget_, options_.max_connections);
  if (!lease) return nullptr;
  SharedConnection::Owner* const owner = this;
  connections_.push_back(std::make_unique<SharedConnection>(
      loop_, target_, options_.connection, std::move(lease), owner, counters_));
  open_->Add(1);
  return connections_.back().get();
}

bool SharedPool::MakeRoom() {
  const auto idle = std::find_if(connections_.begin(), connections_.end(),
                                 [](const auto& connection) { return connection->idle(); });
  if (idle == connections_.end()) return false;
  (*idle)->Close();
  return true;
}

void SharedPool::OnUnused() {
  probe_timer_.Cancel();
  while (MakeRoom()) {
  }
}

void SharedPool::OnConnectionRoom(SharedConnection& connection) {
  const bool back = std::exchange(failing_, false);
  if (back) {
    LogInfo("{} is reached again", name_);
    backoff_.Reset();
  }
  // What nobody uses any more finishes what it has.
  if (!used() && connection.idle()) {
    connection.Close();
    return;
  }
  if (std::exchange(somebody_waits_, false) || back) NotifyUsers();
}

void SharedPool::OnConnectionEnded(SharedConnection& connection, bool never_up,
                                   const absl::Status& why) {
  const auto it = std::find_if(connections_.begin(), connections_.end(),
                               [&](const auto& owned) { return owned.get() == &connection; });
  loop_.Retire(std::move(*it));
  connections_.erase(it);
  open_->Add(-1);
  if (!used()) return;
  if (never_up) {
    if (!failing_) LogWarn("{} cannot be reached: {}; retrying", name_, StdView(why.message()));
    failing_ = true;
    if (!probe_timer_.armed()) loop_.Arm(probe_timer_, backoff_.Next(random_.Uniform()));
  } else if (!why.ok()) {
    LogWarn("shared connection to {} lost: {}", name_, StdView(why.message()));
  }
  if (never_up || std::exchange(somebody_waits_, false)) NotifyUsers();
}

void SharedPool::Probe() {
  if (!used() || !failing_ || !connections_.empty()) return;
  if (Dial() == nullptr) loop_.Arm(probe_timer_, backoff_.Next(random_.Uniform()));
}

}  // namespace trunkline
