#include "dataplane/route/service_router.h"

#include <algorithm>

#include "common/observe/log.h"

namespace trunkline {
namespace {

// Refused connects in a row after which an endpoint is left alone for a while.
constexpr uint32_t kRefusalsToEject = 5;
// The wait grows with the number of ejections in a row, up to this.
constexpr absl::Duration kEjectionMax = absl::Seconds(300);
// A fifth of the flows may be tried again, and a few at once: a dead service must not double its
// own load.
constexpr double kRetryTokensPerFlow = 0.2;
constexpr double kMaxRetryTokens = 100;
// Clients in the waiting line; beyond, they are refused at once.
constexpr size_t kMaxWaiting = 10'000;
// One pick in this many is timed: a clock read costs as much as a pick.
constexpr uint64_t kPicksPerTimedOne = 64;
// A word changes what is known of its own endpoint at once; what follows from all words together,
// the scale and who is hot, is looked at this often.
constexpr absl::Duration kRefreshInterval = absl::Milliseconds(50);

}  // namespace

ServiceRouter::ServiceRouter(EventLoop& loop, Owner& owner, WorkerStats* stats, Place place,
                             uint64_t random_seed, std::shared_ptr<const EndpointSet> set,
                             absl::Duration ejection_base)
    : loop_(loop),
      owner_(owner),
      stats_(stats),
      worker_(place.worker),
      max_connections_(place.max_connections),
      max_pipes_(place.max_pipes),
      ejection_base_(ejection_base),
      random_(random_seed),
      retry_tokens_(kMaxRetryTokens) {
  Update(std::move(set));
}

ServiceRouter::~ServiceRouter() {
  loop_.CancelFlush(this);
  for (const auto& state : states_) {
    if (state->carrier != nullptr) state->carrier->RemoveUser(this);
  }
}

void ServiceRouter::Update(std::shared_ptr<const EndpointSet> set) {
  set_ = std::move(set);
  listener_cell_ = &set_->stats->cell(worker_);
  std::vector<std::unique_ptr<EndpointState>> old = std::exchange(states_, {});
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
  // New users first: a carrier that only changes hands keeps its connections.
  for (const auto& state : states_) {
    if (state->carrier == nullptr) {
      state->carrier = &owner_.CarrierFor(*set_, state->endpoint);
      state->carrier->AddUser(this);
    }
  }
  // Then only: a carrier that becomes usable by that says so at once.
  for (const auto& state : states_) {
    if (state->endpoint.resolved) state->carrier->SetTarget(*state->endpoint.resolved);
  }
  for (std::unique_ptr<EndpointState>& gone : old) {
    if (gone == nullptr) continue;
    std::exchange(gone->carrier, nullptr)->RemoveUser(this);
    gone->cell->ejected.Set(0);
    ForgetLoad(*gone);
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
  loads_.resize(states_.size());
  scores_.reserve(states_.size());
  bool any = false;
  for (const auto& state : states_) {
    const bool takes = state->endpoint.weight > 0 && state->carrier->usable();
    if (takes && !state->ejected) weights[state->index] = state->endpoint.weight;
    any = any || weights[state->index] > 0;
  }
  // Nothing but ejected endpoints: a doubtful server is better than none.
  for (const auto& state : states_) {
    if (!any && state->carrier->usable()) weights[state->index] = state->endpoint.weight;
  }
  balancer_.SetWeights(weights);
  RefreshLoads();
}

void ServiceRouter::OnCarrierChanged(Carrier& carrier) {
  Rebuild();
  OnCarrierRoom(carrier);
}

void ServiceRouter::OnCarrierRoom(Carrier&) {
  if (!waiting_.empty()) loop_.RequestFlush(this);
}

void ServiceRouter::ServeWaiting() {
  while (!waiting_.empty() && !balancer_.empty()) {
    Flow* const flow = waiting_.front();
    if (!Assign(*flow)) return AwaitRoom();
    // Not the front any more, if starting it made it, or another one, leave.
    std::erase(waiting_, flow);
  }
}

void ServiceRouter::Join(Flow& flow) {
  ++clients_;
  stats_->clients.Add(1);
  listener_cell_->clients.Add(1);
  flow.Begin();
}

bool ServiceRouter::Route(Flow& flow) {
  retry_tokens_ = std::min(kMaxRetryTokens, retry_tokens_ + kRetryTokensPerFlow);
  if (Assign(flow)) return true;
  Wait(flow);
  return false;
}

bool ServiceRouter::Retry(Flow& flow) {
  if (retry_tokens_ < 1) return false;
  retry_tokens_ -= 1;
  Reroute(flow);
  return true;
}

bool ServiceRouter::TryElsewhere(Flow& flow) {
  if (!flow.NoteTry()) return false;
  Release(flow);
  return Retry(flow);
}

void ServiceRouter::Reroute(Flow& flow) {
  stats_->retries.Add();
  if (!Assign(flow)) Wait(flow);
}

void ServiceRouter::Wait(Flow& flow) {
  if (waiting_.size() >= kMaxWaiting) {
    flow.GiveUp();
  } else {
    waiting_.push_back(&flow);
    AwaitRoom();
  }
}

void ServiceRouter::AwaitRoom() {
  for (const auto& state : states_) state->carrier->Await();
}

bool ServiceRouter::Assign(Flow& flow) {
  EndpointState* const first = PickFor(flow);
  if (first == nullptr) return false;
  if (StartAt(*first, flow)) return true;
  // It has no room, or ended a moment ago: whichever has room.
  Rebuild();
  for (const auto& state : states_) {
    const bool takes =
        state.get() != first && state->endpoint.weight > 0 && state->carrier->usable();
    if (takes && !flow.tried(state.get()) && StartAt(*state, flow)) return true;
  }
  return false;
}

bool ServiceRouter::StartAt(EndpointState& state, Flow& flow) {
  flow.set_endpoint(&state);
  if (!flow.Start(state)) {
    flow.set_endpoint(nullptr);
    return false;
  }
  CountActive(flow, 1);
  return true;
}

void ServiceRouter::CountActive(Flow& flow, int32_t change) {
  EndpointState& state = *flow.endpoint();
  state.active += change;
  state.cell->active.Add(change);
  if (change > 0) state.cell->flows.Add(static_cast<uint64_t>(change));
  if (flow.is_load()) AddLoad(state, change);
}

void ServiceRouter::SetLoad(Flow& flow, bool is_load) {
  flow.set_load(is_load);
  if (flow.endpoint() != nullptr) AddLoad(*flow.endpoint(), is_load ? 1 : -1);
}

void ServiceRouter::AddLoad(EndpointState& state, int32_t change) {
  state.load.AddOwn(change);
  state.cell->load.Add(change);
  if (state.carrier != nullptr) loads_[state.index].in_flight = state.load.InFlight(share_.scale());
}

// Services that share an agent share its trunks, and hear of each other.
void ServiceRouter::OnInbandReport(Carrier& carrier, const InbandReport& word) {
  if (word.service != set_->service) return;
  for (const auto& state : states_) {
    if (state->carrier != &carrier) continue;
    state->load.OnReport(word.load, loop_.now());
    share_.OnReport(state->load.own(), word.load.active);
    loads_[state->index].in_flight = state->load.InFlight(share_.scale());
    state->cell->server_active.Set(word.load.active);
    state->cell->server_utilization.Set(word.load.utilization == ServerLoad::kUnknown
                                            ? EndpointCell::kUnknown
                                            : word.load.utilization);
  }
  if (!stale_timer_.armed()) loop_.Arm(stale_timer_, LoadEstimate::kFreshFor);
  if (loop_.now() - refreshed_at_ >= kRefreshInterval) RefreshLoads();
}

void ServiceRouter::OnLoadUnknown(Carrier& carrier) {
  for (const auto& state : states_) {
    if (state->carrier == &carrier) ForgetLoad(*state);
  }
  RefreshLoads();
}

void ServiceRouter::ForgetLoad(EndpointState& state) {
  state.load.Forget();
  state.cell->server_active.Set(EndpointCell::kUnknown);
  state.cell->server_utilization.Set(EndpointCell::kUnknown);
}

// Words that were not repeated; fires again for the next.
void ServiceRouter::OnStaleTimer() {
  MonotonicTime oldest = MonotonicTime::Infinite();
  for (const auto& state : states_) {
    if (state->load.ForgetIfOld(loop_.now())) ForgetLoad(*state);
    if (state->load.known()) oldest = std::min(oldest, state->load.heard_at());
  }
  RefreshLoads();
  if (oldest == MonotonicTime::Infinite()) return;
  loop_.Arm(stale_timer_, oldest + LoadEstimate::kFreshFor - loop_.now());
}

double ServiceRouter::ScoreOf(const EndpointState& state) const {
  return loads_[state.index].in_flight / state.endpoint.weight;
}

void ServiceRouter::RefreshLoads() {
  refreshed_at_ = loop_.now();
  const double scale = share_.scale();
  bool any_busy = false;
  scores_.clear();
  for (const auto& state : states_) {
    loads_[state->index] = {.in_flight = state->load.InFlight(scale), .hot = false};
    if (state->endpoint.weight > 0) scores_.push_back(ScoreOf(*state));
    any_busy = any_busy || state->load.busy();
  }
  if (!any_busy) return;
  const double threshold = HotAbove(scores_);
  for (const auto& state : states_) {
    const bool counts = state->endpoint.weight > 0 && state->load.busy();
    loads_[state->index].hot = counts && ScoreOf(*state) > threshold;
  }
}

EndpointState* ServiceRouter::PickFor(const Flow& flow) {
  const bool timed = picks_++ % kPicksPerTimedOne == 0;
  const MonotonicTime start = timed ? MonotonicNow() : MonotonicTime();
  const size_t index = balancer_.Pick(loads_, random_);
  if (timed) stats_->pick_latency.Record((MonotonicNow().nanos() - start.nanos()));
  if (index == Balancer::kNone) return nullptr;
  EndpointState* state = states_[index].get();
  return flow.tried(state) ? PickUntried(flow) : state;
}

// A second try goes to the least busy endpoint that was not tried, an ejected one last; where all
// were, anywhere.
EndpointState* ServiceRouter::PickUntried(const Flow& flow) {
  EndpointState* best = nullptr;
  for (const auto& state : states_) {
    if (flow.tried(state.get()) || state->endpoint.weight <= 0 || !state->carrier->usable()) {
      continue;
    }
    const auto score = [this](const EndpointState& s) {
      return std::pair(s.ejected, (loads_[s.index].in_flight + 1) / s.endpoint.weight);
    };
    if (best == nullptr || score(*state) < score(*best)) best = state.get();
  }
  if (best != nullptr) return best;
  const size_t index = balancer_.Pick(loads_, random_);
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
  const bool departed = state.carrier == nullptr;
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
  CountActive(flow, -1);
  flow.set_endpoint(nullptr);
  if (state->carrier == nullptr) DropIfGone(state);
}

void ServiceRouter::DropIfGone(EndpointState* state) {
  if (state->active > 0) return;
  std::erase_if(departed_, [&](const auto& owned) { return owned.get() == state; });
}

void ServiceRouter::OnFlowDone(Flow& flow, FlowEnd end) {
  CountEnd(flow, end);
  Release(flow);
  --clients_;
  stats_->clients.Add(-1);
  listener_cell_->clients.Add(-1);
  owner_.OnFlowGone(flow);
}

void ServiceRouter::Replace(Flow& flow, std::unique_ptr<Flow> by) {
  Release(flow);
  Flow& next = *by;
  next.set_origin(flow.TakeOrigin());
  owner_.OnFlowReplaced(flow, std::move(by));
  next.Begin();
}

void ServiceRouter::CountEnd(Flow& flow, FlowEnd end) {
  EndpointCell* cell = flow.endpoint() != nullptr ? flow.endpoint()->cell : nullptr;
  switch (end) {
    case FlowEnd::kClean:
      return;
    case FlowEnd::kClientReset:
      stats_->client_reset.Add();
      return;
    case FlowEnd::kServerReset:
      stats_->server_reset.Add();
      if (cell != nullptr) cell->resets.Add();
      return;
    case FlowEnd::kConnectionLost:
      stats_->connection_lost.Add();
      if (cell != nullptr) cell->trunk_losses.Add();
      return;
    case FlowEnd::kTrunkLost:
      stats_->trunk_lost.Add();
      if (cell != nullptr) cell->trunk_losses.Add();
      return;
    case FlowEnd::kRefused:
      stats_->connect_refused.Add();
      return;
    case FlowEnd::kNoEndpoint:
      (owner_.dialer().lacking() ? stats_->no_socket : stats_->no_endpoint).Add();
      return;
    case FlowEnd::kTimeout:
      stats_->timeouts.Add();
      return;
    case FlowEnd::kShutdown:
      stats_->shutdowns.Add();
      return;
    case FlowEnd::kBadRequest:
      stats_->bad_requests.Add();
      return;
    case FlowEnd::kSlowReader:
      stats_->slow_readers.Add();
      return;
    case FlowEnd::kSourceLimit:
      stats_->source_limited.Add();
      return;
    case FlowEnd::kBadHeader:
      stats_->bad_headers.Add();
      return;
    case FlowEnd::kMemory:
      stats_->shed.Add();
      return;
  }
}

}  // namespace trunkline
