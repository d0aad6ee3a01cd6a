#include "dataplane/route/service_router.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/ip_port.h"
#include "common/observe/log.h"
#include "dataplane/codec/codec.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/pending_queue.h"
#include "dataplane/log/connection_log.h"
#include "dataplane/route/flow_end_counts.h"
#include "dataplane/route/worker_context.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {
namespace {

// Limit of clients in the pending queue. Further clients are refused at once.
constexpr size_t kMaxPending = 10'000;
// One pick in this many is timed, because a clock read costs as much as a pick.
constexpr uint64_t kPicksPerTimedOne = 64;
constexpr absl::Duration kWatchWarningInterval = absl::Seconds(10);
// Endpoints that are tried for one flow before it waits. If a service has more and all are full,
// flows are assigned as carriers report room.
constexpr int kMaxStartsPerFlow = 64;

ConnectionLog* LogOf(const WorkerContext& worker, const EndpointSet& set) {
  ConnectionLog* const log = worker.connection_log;
  return log != nullptr && log->Covers(set.service) ? log : nullptr;
}

// Returns a hash of the client's IP address, or 0 if the service does not need it. All proxies
// compute the same.
uint64_t ClientHash(const Flow& flow) {
  const ClientOrigin* const origin = flow.origin();
  if (origin == nullptr) return 0;
  const IpPort client = origin->addresses.source.Mapped();
  return StableHash({reinterpret_cast<const char*>(client.ip.data()), client.ip.size()});
}

}  // namespace

ServiceRouter::ServiceRouter(const WorkerContext& worker, Owner& owner, const Options& options,
                             std::shared_ptr<const EndpointSet> set)
    : worker_(worker),
      owner_(owner),
      max_connections_(options.max_connections),
      connection_log_(LogOf(worker, *set)),
      ejection_(options.ejection_base),
      random_(options.random_seed),
      picker_(worker.workers),
      pending_{PendingQueue<Flow>(kMaxPending), PendingQueue<Flow>(kMaxPending)} {
  static_assert(kMostVariants == 2);
  Update(std::move(set));
}

ServiceRouter::~ServiceRouter() {
  worker_.loop.CancelFlush(this);
  for (const auto& state : states_) {
    SetFull(*state, false);
    if (state->carrier != nullptr) state->carrier->RemoveUser(this);
  }
  for (Carrier* carrier : departing_carriers_) carrier->RemoveUser(this);
}

bool ServiceRouter::HasRoom() const {
  const size_t limit = set_->limits.max_clients;
  int64_t all = 0;
  for (const ListenerCell& cell : set_->stats->cells()) all += cell.clients.Value();
  return all < static_cast<int64_t>(limit);
}

void ServiceRouter::OnFlush() {
  if (next_join_ < states_.size()) JoinSome();
  ServePending();
}

void ServiceRouter::ServePending() {
  bool all_served = true;
  for (PendingQueue<Flow>& queue : pending_) all_served = ServeQueue(queue) && all_served;
  if (!all_served) AwaitRoom();
  if (pending() == 0) awaits_all_ = false;
  ForgetRoom();
  CountPending();
}

// Returns false if a flow found no room.
bool ServiceRouter::ServeQueue(PendingQueue<Flow>& queue) {
  while (!queue.empty() && picker_.HasCandidate()) {
    Flow& flow = *queue.front();
    if (!Assign(flow)) return false;
    // The flow may have left the queue already: assigning a flow can end it or another one.
    queue.Remove(flow);
  }
  return true;
}

size_t ServiceRouter::pending() const {
  size_t all = 0;
  for (const PendingQueue<Flow>& queue : pending_) all += queue.size();
  return all;
}

void ServiceRouter::ForgetRoom() {
  for (EndpointState* state : with_room_) state->may_have_room = false;
  with_room_.clear();
}

void ServiceRouter::Join(Flow& flow) {
  ++clients_;
  worker_.stats.clients.Add(1);
  listener_cell_->clients.Add(1);
  flow.Begin();
}

bool ServiceRouter::Route(Flow& flow) {
  retry_budget_.Deposit();
  if (FlowRecord* const record = flow.record()) record->OnRouted(worker_.loop.now());
  if (Assign(flow)) return true;
  Wait(flow);
  return false;
}

bool ServiceRouter::Retry(Flow& flow) {
  if (!retry_budget_.Withdraw()) return false;
  Reroute(flow);
  return true;
}

bool ServiceRouter::TryElsewhere(Flow& flow) {
  const EndpointState& state = *flow.endpoint();
  const bool failing =
      state.carrier != nullptr && (state.ejection.ejected || state.carrier->failing());
  if (failing && picker_.HasHealthy()) {
    // Others avoid the endpoint from now on, so this happens at most once for each that is down.
    Release(flow);
    Reroute(flow);
    return true;
  }
  if (!flow.NoteTry()) return false;
  Release(flow);
  return Retry(flow);
}

void ServiceRouter::CountRetry(Flow& flow) {
  worker_.stats.retries.Add();
  if (FlowRecord* const record = flow.record()) ++record->retries;
}

void ServiceRouter::Reroute(Flow& flow) {
  CountRetry(flow);
  if (!Assign(flow)) Wait(flow);
}

void ServiceRouter::Wait(Flow& flow) {
  if (FlowRecord* const record = flow.record()) record->phase = FlowRecord::Phase::kQueue;
  if (pending() >= kMaxPending || !QueueOf(flow).Push(flow)) {
    no_room_log_.QueueIsFull(*set_, pending(), worker_.loop.now());
    flow.GiveUp();
    return;
  }
  CountPending();
  LogIfFull();
  AwaitRoom();
}

void ServiceRouter::CountPending() { pending_share_.Set(pending()); }

void ServiceRouter::LogIfFull() {
  if (full_endpoints_ == 0 || pending() == 0 || picker_.HasCandidate()) return;
  no_room_log_.EndpointsAreFull(*set_, states_, worker_.loop.now());
}

// Asks each carrier once, until it notifies.
void ServiceRouter::AwaitRoom() {
  if (awaits_all_) {
    // Iterates by index, because a carrier may report room during the call.
    for (size_t i = 0; i < with_room_.size(); ++i) with_room_[i]->carrier->Await();
    return;
  }
  awaits_all_ = true;
  for (const auto& state : states_) {
    if (state->carrier != nullptr) state->carrier->Await();
  }
}

bool ServiceRouter::Assign(Flow& flow) { return AssignByPicks(flow) || AssignWhereRoom(flow); }

// Excludes endpoints that were tried before or turn out to be full or gone, and picks again by
// weight and load.
bool ServiceRouter::AssignByPicks(Flow& flow) {
  absl::InlinedVector<size_t, kMaxStartsPerFlow> excluded;
  const uint64_t client = ClientHash(flow);
  int starts = 0;
  while (starts < kMaxStartsPerFlow) {
    const size_t picked = Pick(excluded, client);
    if (picked == EndpointPicker::kNone) break;
    EndpointState& state = *states_[picked];
    // No longer a candidate then, if others are healthy.
    if (!picker_.ejected(picked) && state.carrier->LearnFailing()) continue;
    if (!flow.tried(&state)) {
      ++starts;
      if (StartAt(state, flow)) return true;
      UpdateHealth(state);
    }
    excluded.push_back(picked);
  }
  if (starts > 0 || excluded.empty()) return false;
  // Every endpoint was tried before, so try any of them again.
  const size_t picked = Pick({}, client);
  return picked != EndpointPicker::kNone && StartAt(*states_[picked], flow);
}

// For services with so many full endpoints that picks do not find those with room.
bool ServiceRouter::AssignWhereRoom(Flow& flow) {
  if (states_.size() <= kMaxStartsPerFlow) return false;
  for (size_t i = 0; i < with_room_.size(); ++i) {
    EndpointState& state = *with_room_[i];
    const bool takes = picker_.IsCandidate(state.index) && !flow.tried(&state);
    if (takes && StartAt(state, flow)) return true;
  }
  return false;
}

size_t ServiceRouter::Pick(std::span<const size_t> excluded, uint64_t client) {
  const bool timed = picks_++ % kPicksPerTimedOne == 0;
  if (!timed) return picker_.Pick(random_, excluded, client);
  const MonotonicTime start = MonotonicNow();
  const size_t picked = picker_.Pick(random_, excluded, client);
  worker_.stats.pick_latency.Record(MonotonicNow().nanos() - start.nanos());
  return picked;
}

bool ServiceRouter::StartAt(EndpointState& state, Flow& flow) {
  flow.set_endpoint(&state);
  if (!flow.Start(state)) {
    flow.set_endpoint(nullptr);
    return false;
  }
  if (FlowRecord* const record = flow.record()) {
    record->OnPicked(worker_.loop.now(), state.endpoint().stats);
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
  state.cell->load.Add(change);
  if (!state.departed()) picker_.AddOwn(state.index, change);
}

void ServiceRouter::OnConnected(Flow& flow) {
  EndpointState& state = *flow.endpoint();
  ejection_.OnConnected(state.ejection);
  if (state.carrier != nullptr) state.carrier->OnConnected();
  const int64_t nanos = worker_.loop.now().nanos() - flow.accepted_at().nanos();
  worker_.stats.connect_latency.Record(nanos);
  state.cell->connects.Add();
  state.cell->connect_nanos.Add(nanos);
  if (FlowRecord* const record = flow.record()) record->OnConnected(worker_.loop.now());
}

void ServiceRouter::OnFirstByte(Flow& flow, MonotonicTime since) {
  LatencyHistogram& histogram = listener_cell_->first_byte[static_cast<size_t>(set_->mode)];
  const int64_t nanos = worker_.loop.now().nanos() - since.nanos();
  histogram.Record(nanos);
  const EndpointState& state = *flow.endpoint();
  if (!state.departed()) {
    picker_.OnAnswer(state.index, absl::Nanoseconds(nanos), worker_.loop.now());
  }
  EndpointCell& cell = *state.cell;
  cell.answered.Add();
  cell.first_byte_nanos.Add(nanos);
  if (FlowRecord* const record = flow.record()) record->OnFirstByte(worker_.loop.now());
}

void ServiceRouter::CountFailure(EndpointState& state, ConnectFailure why) {
  (why == ConnectFailure::kRefused ? state.cell->connect_refused : state.cell->connect_timeouts)
      .Add();
}

void ServiceRouter::OnOpeningFailed(Flow& flow, ConnectFailure why, uint8_t variant, bool lacking) {
  if (variant == 0) return OnConnectFailed(flow, why);
  EndpointState& state = *flow.endpoint();
  CountFailure(state, why);
  if (!state.departed()) state.carrier->OnVariantRefused(variant, lacking);
}

void ServiceRouter::OnConnectFailed(Flow& flow, ConnectFailure why) {
  EndpointState& state = *flow.endpoint();
  CountFailure(state, why);
  if (state.departed() || state.carrier->OnConnectFailed(why)) return;
  if (ejection_.OnFailed(state.ejection, worker_.loop.now(), random_.Uniform())) Eject(state);
}

void ServiceRouter::Release(Flow& flow) {
  EndpointState* state = flow.endpoint();
  if (state == nullptr) {
    QueueOf(flow).Remove(flow);
    CountPending();
    if (pending() == 0) awaits_all_ = false;
    return;
  }
  CountActive(flow, -1);
  flow.set_endpoint(nullptr);
  if (state->departed() && state->active == 0) departed_.erase(state);
}

void ServiceRouter::OnFlowDone(Flow& flow, FlowEnd end) {
  EndpointCell* cell = flow.endpoint() != nullptr ? flow.endpoint()->cell : nullptr;
  CountFlowEnd(end, worker_.stats, cell, worker_.dialer.lacking());
  if (end == FlowEnd::kUnwatchable) WarnOfUnwatchable();
  if (end == FlowEnd::kNoEndpoint && flow.pending() && !worker_.dialer.lacking()) {
    no_room_log_.WaitedInVain(*set_, states_, max_connections_, worker_.loop.now());
  }
  if (const FlowRecord* const record = flow.record()) LogEnd(*record, end);
  Release(flow);
  --clients_;
  worker_.stats.clients.Add(-1);
  listener_cell_->clients.Add(-1);
  owner_.OnFlowGone(flow);
}

void ServiceRouter::WarnOfUnwatchable() {
  if (worker_.loop.now() < next_watch_warning_) return;
  next_watch_warning_ = worker_.loop.now() + kWatchWarningInterval;
  LogWarn(
      "clients of service {} are reset because epoll cannot watch their sockets: raise "
      "fs.epoll.max_user_watches or lower max_clients",
      set_->service);
}

void ServiceRouter::Replace(Flow& flow, std::unique_ptr<Flow> by) {
  Release(flow);
  Flow& next = *by;
  next.set_origin(flow.TakeOrigin());
  if (flow.record() != nullptr) {
    next.set_record(flow.TakeRecord());
    next.record()->OnReplaced(worker_.loop.now());
  }
  owner_.OnFlowReplaced(flow, std::move(by));
  next.Begin();
}

}  // namespace trunkline
