#include "dataplane/service_router.h"

#include <algorithm>

#include "common/log.h"
#include "dataplane/flow.h"

namespace trunkline {
namespace {

// Refused connects in a row after which an endpoint is left alone for a while.
constexpr uint32_t kRefusalsToEject = 5;
// The wait grows with the number of ejections in a row, up to this.
constexpr absl::Duration kEjectionMax = absl::Seconds(300);
// A fifth of the flows may be tried again, and a few at once: a dead service must not double its own load.
constexpr double kRetryTokensPerFlow = 0.2;
constexpr double kMaxRetryTokens = 100;
// Clients in the waiting line; beyond, they are refused at once.
constexpr size_t kMaxWaiting = 10'000;
// One pick in this many is timed: a clock read costs as much as a pick.
constexpr uint64_t kPicksPerTimedOne = 64;

}  // namespace

ServiceRouter::ServiceRouter(EventLoop& loop, Pools& pools, WorkerStats* stats, size_t worker,
                             uint64_t random_seed, std::shared_ptr<const EndpointSet> set,
                             absl::Duration ejection_base)
    : loop_(loop),
      pools_(pools),
      stats_(stats),
      worker_(worker),
      ejection_base_(ejection_base),
      random_(random_seed),
      retry_tokens_(kMaxRetryTokens) {
  Update(std::move(set));
}

ServiceRouter::~ServiceRouter() {
  for (const auto& state : states_) {
    if (state->pool != nullptr) state->pool->RemoveUser(this);
  }
}

void ServiceRouter::Update(std::shared_ptr<const EndpointSet> set) {
  set_ = std::move(set);
  listener_cell_ = &set_->stats->cell(worker_);
  std::vector<std::unique_ptr<EndpointState>> old = std::exchange(states_, {});
  std::vector<TrunkPool*> released;
  for (const Endpoint& endpoint : set_->endpoints) {
    const auto same = std::find_if(old.begin(), old.end(), [&](const auto& state) {
      return state != nullptr && state->endpoint.id == endpoint.id &&
             state->endpoint.address == endpoint.address;
    });
    std::unique_ptr<EndpointState> state =
        same != old.end() ? std::move(*same) : std::make_unique<EndpointState>();
    state->endpoint = endpoint;
    state->cell = &endpoint.stats->cell(worker_);
    state->index = states_.size();
    states_.push_back(std::move(state));
  }
  // New users first: a pool that only changes hands keeps its trunks.
  for (const auto& state : states_) {
    if (state->pool == nullptr) {
      state->pool = &pools_.PoolFor(state->endpoint.address);
      state->pool->AddUser(this);
    }
    if (state->endpoint.resolved) state->pool->SetTarget(*state->endpoint.resolved);
  }
  for (std::unique_ptr<EndpointState>& gone : old) {
    if (gone == nullptr) continue;
    std::exchange(gone->pool, nullptr)->RemoveUser(this);
    gone->cell->ejected.Set(0);
    if (gone->active > 0) departed_.push_back(std::move(gone));
  }
  Rebuild();
  ServeWaiting();
}

bool ServiceRouter::HasRoom() const {
  const size_t limit = set_->limits.max_clients;
  int64_t all = 0;
  for (const ListenerCell& cell : set_->stats->cells()) all += cell.clients.Value();
  return all < static_cast<int64_t>(limit);
}

void ServiceRouter::Rebuild() {
  std::vector<double> weights(states_.size(), 0.0);
  in_flight_.assign(states_.size(), 0);
  bool any = false;
  for (const auto& state : states_) {
    in_flight_[state->index] = state->active;
    const bool takes = state->endpoint.weight > 0 && state->pool->usable();
    if (takes && !state->ejected) weights[state->index] = state->endpoint.weight;
    any = any || weights[state->index] > 0;
  }
  // Nothing but ejected endpoints: a doubtful server is better than none.
  for (const auto& state : states_) {
    if (!any && state->pool->usable()) weights[state->index] = state->endpoint.weight;
  }
  balancer_.SetWeights(weights);
}

void ServiceRouter::OnPoolChanged(TrunkPool&) {
  Rebuild();
  ServeWaiting();
}

void ServiceRouter::ServeWaiting() {
  while (!waiting_.empty() && !balancer_.empty()) {
    if (!Assign(*waiting_.front())) return;
    waiting_.pop_front();
  }
}

void ServiceRouter::Dispatch(Flow& flow) {
  ++clients_;
  stats_->clients.Add(1);
  listener_cell_->clients.Set(clients_);
  retry_tokens_ = std::min(kMaxRetryTokens, retry_tokens_ + kRetryTokensPerFlow);
  if (Assign(flow)) return;
  if (waiting_.size() >= kMaxWaiting) {
    flow.GiveUp();
  } else {
    waiting_.push_back(&flow);
  }
}

bool ServiceRouter::Retry(Flow& flow) {
  if (retry_tokens_ < 1) return false;
  retry_tokens_ -= 1;
  stats_->retries.Add();
  if (!Assign(flow)) waiting_.push_back(&flow);
  return true;
}

bool ServiceRouter::Assign(Flow& flow) {
  // An endpoint whose trunks are full is only noticed here; each round without a trunk takes one out of the table.
  for (size_t round = 0; round <= states_.size(); ++round) {
    EndpointState* state = PickFor(flow);
    if (state == nullptr) return false;
    TrunkConnection* trunk = state->pool->Acquire();
    if (trunk == nullptr || !trunk->session().Connect(set_->authority, &flow).ok()) {
      Rebuild();
      continue;
    }
    flow.set_endpoint(state);
    flow.CountBytes(&state->cell->bytes_to_server, &state->cell->bytes_to_client);
    ++state->active;
    ++in_flight_[state->index];
    state->cell->active.Add(1);
    state->cell->flows.Add();
    return true;
  }
  return false;
}

EndpointState* ServiceRouter::PickFor(const Flow& flow) {
  const bool timed = picks_++ % kPicksPerTimedOne == 0;
  const MonotonicTime start = timed ? MonotonicNow() : MonotonicTime();
  const size_t index = balancer_.Pick(in_flight_, random_);
  if (timed) stats_->pick_latency.Record((MonotonicNow().nanos() - start.nanos()));
  if (index == Balancer::kNone) return nullptr;
  EndpointState* state = states_[index].get();
  return flow.tried(state) ? PickUntried(flow) : state;
}

// A second try goes to the least busy endpoint that was not tried, an ejected one last; where all were, anywhere.
EndpointState* ServiceRouter::PickUntried(const Flow& flow) {
  EndpointState* best = nullptr;
  for (const auto& state : states_) {
    if (flow.tried(state.get()) || state->endpoint.weight <= 0 || !state->pool->usable()) continue;
    const auto score = [](const EndpointState& s) {
      return std::pair(s.ejected, (s.active + 1) / s.endpoint.weight);
    };
    if (best == nullptr || score(*state) < score(*best)) best = state.get();
  }
  if (best != nullptr) return best;
  const size_t index = balancer_.Pick(in_flight_, random_);
  return index == Balancer::kNone ? nullptr : states_[index].get();
}

void ServiceRouter::OnConnected(Flow& flow) {
  EndpointState& state = *flow.endpoint();
  state.refused_in_row = 0;
  state.ejections = 0;
  const int64_t nanos = loop_.now().nanos() - flow.accepted_at().nanos();
  stats_->connect_latency.Record(nanos);
  state.cell->connects.Add();
  state.cell->connect_nanos.Add(nanos);
}

void ServiceRouter::OnConnectRefused(Flow& flow) {
  EndpointState& state = *flow.endpoint();
  state.cell->connect_refused.Add();
  const bool departed = state.pool == nullptr;
  if (++state.refused_in_row >= kRefusalsToEject && !state.ejected && !departed) Eject(state);
}

void ServiceRouter::Eject(EndpointState& state) {
  ++state.ejections;
  const absl::Duration base = std::min(kEjectionMax, ejection_base_ * state.ejections);
  state.ejected = true;
  state.refused_in_row = 0;
  state.ejected_until = loop_.now() + base * (0.9 + 0.2 * random_.Uniform());
  state.cell->ejected.Set(1);
  LogWarn("endpoint {} of service {} refused {} connects in a row; left alone for {}",
          state.endpoint.id, set_->service, kRefusalsToEject, absl::FormatDuration(base));
  Rebuild();
  OnEjectionTimer();
}

// Takes back those whose time is over; fires again for the next.
void ServiceRouter::OnEjectionTimer() {
  MonotonicTime next = MonotonicTime::Infinite();
  bool changed = false;
  for (const auto& state : states_) {
    if (!state->ejected) continue;
    if (state->ejected_until > loop_.now()) {
      next = std::min(next, state->ejected_until);
      continue;
    }
    state->ejected = false;
    state->cell->ejected.Set(0);
    changed = true;
  }
  if (changed) Rebuild();
  if (next != MonotonicTime::Infinite()) loop_.Arm(ejection_timer_, next - loop_.now());
}

void ServiceRouter::Release(Flow& flow) {
  EndpointState* state = flow.endpoint();
  if (state == nullptr) {
    std::erase(waiting_, &flow);
    return;
  }
  flow.set_endpoint(nullptr);
  --state->active;
  state->cell->active.Add(-1);
  if (state->pool != nullptr) {
    --in_flight_[state->index];
  } else {
    DropIfGone(state);
  }
}

void ServiceRouter::DropIfGone(EndpointState* state) {
  if (state->active > 0) return;
  std::erase_if(departed_, [&](const auto& owned) { return owned.get() == state; });
}

void ServiceRouter::OnFlowDone(Flow& flow, StreamBridge::End end) {
  CountEnd(flow, end);
  Release(flow);
  --clients_;
  stats_->clients.Add(-1);
  listener_cell_->clients.Set(clients_);
  pools_.OnFlowGone(flow);
}

void ServiceRouter::CountEnd(Flow& flow, StreamBridge::End end) {
  EndpointCell* cell = flow.endpoint() != nullptr ? flow.endpoint()->cell : nullptr;
  switch (end) {
    case StreamBridge::End::kClean:
      return;
    case StreamBridge::End::kSocketReset:
      stats_->client_reset.Add();
      return;
    case StreamBridge::End::kTimeout:
      (cell == nullptr ? stats_->no_endpoint : stats_->timeouts).Add();
      return;
    case StreamBridge::End::kShutdown:
      stats_->shutdowns.Add();
      return;
    case StreamBridge::End::kStreamLost:
      stats_->trunk_lost.Add();
      if (cell != nullptr) cell->trunk_losses.Add();
      return;
    case StreamBridge::End::kStreamReset:
      (flow.confirmed()          ? stats_->server_reset
       : flow.was_refused()      ? stats_->connect_refused
                                 : stats_->no_endpoint)
          .Add();
      if (cell != nullptr && flow.confirmed()) cell->resets.Add();
      return;
  }
}

}  // namespace trunkline
