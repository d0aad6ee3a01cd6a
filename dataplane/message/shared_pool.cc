#include "dataplane/message/shared_pool.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/base/backoff.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/attempt_time.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/message_service.h"

namespace trunkline {
namespace {

constexpr Backoff::Options kDialBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(5), .factor = 2.0};
// A server that does not know a variant learns it with its next version, so it is rarely worth a
// try. One that refused it for another reason, at its limit of clients, recovers soon.
constexpr Backoff::Options kLackingBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(60), .factor = 2.0};
// Where variants take turns at a place, one keeps it so long while its requests are in flight. A
// change costs a connect and an opening.
constexpr absl::Duration kTurn = absl::Milliseconds(100);
// Without requests in flight. Bounds the changes if clients of both variants ask one at a time.
constexpr absl::Duration kIdleTurn = absl::Milliseconds(10);
// The flow for which a place was made free may have left meanwhile.
constexpr absl::Duration kHeirWait = absl::Milliseconds(100);
// Requests in flight on the least busy connection above which the pool dials another one. Fewer
// connections put more requests into one system call; more connections limit head-of-line blocking.
constexpr size_t kWorthAnother = 16;

// A request joins a batch on a connection with up to this many more requests in flight than the
// least busy one: batching saves a write here and a read at the server.
constexpr size_t kBatchingBonus = 4;

size_t Cost(const SharedConnection& connection) {
  return connection.in_flight() + (connection.collecting() ? 0 : kBatchingBonus);
}

}  // namespace

SharedPool::SharedPool(EventLoop& loop, Dialer& dialer, std::string name, Options options,
                       std::shared_ptr<ConnectionBudget> budget, SharedCounters* counters,
                       Gauge* open, uint64_t random_seed)
    : loop_(loop),
      dialer_(dialer),
      name_(std::move(name)),
      options_(std::move(options)),
      budget_(std::move(budget)),
      counters_(counters),
      open_(open),
      random_(random_seed),
      backoff_(kDialBackoff),
      refusals_{
          Refusal{.backoff = Backoff(kDialBackoff), .lacking_backoff = Backoff(kLackingBackoff)},
          Refusal{.backoff = Backoff(kDialBackoff), .lacking_backoff = Backoff(kLackingBackoff)}} {}

SharedPool::~SharedPool() { open_->Add(-static_cast<int64_t>(connections_.size())); }

void SharedPool::OnTarget() {
  if (!std::exchange(had_target_, true)) NotifyUsers();
}

SharedConnection* SharedPool::AcquireConnection(uint8_t variant) {
  SharedConnection* best = nullptr;
  SharedConnection* held_up = nullptr;
  bool any = false;
  for (const auto& connection : connections_) {
    if (connection->variant() != variant) continue;
    any = true;
    const bool probe = failing_ && !connection->up();
    if (probe || !connection->HasRoom()) continue;
    SharedConnection*& known = connection->held_up() ? held_up : best;
    if (known == nullptr || Cost(*connection) < Cost(*known)) known = connection.get();
  }
  const bool busy = best == nullptr || best->in_flight() >= kWorthAnother;
  if (busy && !failing_ && MayOpen(variant)) {
    SharedConnection* fresh = Dial(variant, Purpose::kRequest);
    if (fresh == nullptr && !any && TakePlace(variant)) fresh = Dial(variant, Purpose::kRequest);
    if (fresh != nullptr) best = fresh;
  }
  return best != nullptr ? best : held_up;
}

// Where it returns false, waiting flows ask again when it may return true.
bool SharedPool::MayOpen(uint8_t variant) {
  const MonotonicTime until = refusals_[variant].until;
  if (loop_.now() >= until) return true;
  WakeAt(until);
  return false;
}

// Gives this variant the place of another one's connection. Returns true if the place is free now.
// Until it is, and for a moment afterwards, no other variant is dialed.
bool SharedPool::TakePlace(uint8_t variant) {
  if (options_.max_connections == 0 || budget_->used() < options_.max_connections) return false;
  SharedConnection* least = nullptr;
  for (const auto& connection : connections_) {
    if (connection->retiring()) return false;
    // The turn of one that is not up yet has not begun.
    if (!connection->up() && !connection->idle()) continue;
    if (least == nullptr || connection->in_flight() < least->in_flight()) least = connection.get();
  }
  if (least == nullptr) return false;
  const MonotonicTime turn_ends = turn_began_ + (least->idle() ? kIdleTurn : kTurn);
  if (least->up() && loop_.now() < turn_ends) {
    WakeAt(turn_ends);
    return false;
  }
  heir_ = variant;
  heir_until_ = MonotonicTime::Infinite();
  least->Retire();
  if (!least->idle()) return false;
  least->Close();
  return true;
}

void SharedPool::WakeAt(MonotonicTime at) {
  if (wake_timer_.armed() && wake_at_ <= at) return;
  wake_at_ = at;
  loop_.Arm(wake_timer_, at - loop_.now());
}

void SharedPool::OnWake() {
  if (loop_.now() >= heir_until_) heir_.reset();
  NotifyWaiters();
}

bool SharedPool::AnyUp() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& connection) { return connection->up(); });
}

void SharedPool::Await() {
  has_waiters_ = true;
  for (const auto& connection : connections_) connection->OnWaiters();
}

void SharedPool::NotifyWaiters() {
  if (std::exchange(has_waiters_, false)) NotifyOfRoom();
}

// The other addresses of the server are tried at once.
absl::Duration SharedPool::NextDialDelay() {
  if (++addresses_failed_ < targets().size()) return absl::ZeroDuration();
  addresses_failed_ = 0;
  return backoff_.Next(random_.Uniform());
}

SharedConnection* SharedPool::Dial(uint8_t variant, Purpose purpose) {
  const size_t same = static_cast<size_t>(std::ranges::count(
      connections_, variant, [](const auto& connection) { return connection->variant(); }));
  if (targets().empty() || !used() || same >= options_.max_shared) return nullptr;
  if (heir_ && *heir_ != variant && loop_.now() < heir_until_) return nullptr;
  ConnectionLease lease(budget_, options_.max_connections);
  if (!lease) return nullptr;
  dial_turn_ = targets().turn();
  ConnectResult result = dialer_.Connect(targets().current());
  if (Dialer::IsOurFault(result)) return nullptr;
  if (result.fd) SetKeepalive(result.fd.get(), dialer_.keepalive());
  SharedConnection::Owner* const owner = this;
  SharedConnectionOptions options = options_.connection;
  options.variant = variant;
  const bool alternatives =
      targets().size() > 1 || (purpose == Purpose::kRequest && AnyUserHasOthers());
  options.connect_timeout = AttemptTime(options.connect_timeout, alternatives);
  connections_.push_back(std::make_unique<SharedConnection>(loop_, std::move(result), options,
                                                            std::move(lease), owner, counters_));
  open_->Add(1);
  heir_.reset();
  return connections_.back().get();
}

bool SharedPool::MakeRoom() {
  const auto idle = std::find_if(connections_.begin(), connections_.end(),
                                 [](const auto& connection) { return connection->idle(); });
  if (idle == connections_.end()) return false;
  (*idle)->Close();
  return true;
}

void SharedPool::OnPlaceFree() { NotifyWaiters(); }

EndpointCell* SharedPool::cell() const {
  return options_.stats != nullptr ? &options_.stats->cell(options_.worker) : nullptr;
}

bool SharedPool::ShareFailure() {
  return options_.stats == nullptr || options_.stats->reachability.SetFailing(options_.address);
}

bool SharedPool::LearnFailing() {
  if (failing_ || options_.stats == nullptr || AnyUp()) return failing();
  if (!options_.stats->reachability.IsFailing(options_.address)) return false;
  failing_ = true;
  if (!probe_timer_.armed()) loop_.Arm(probe_timer_, backoff_.Next(random_.Uniform()));
  NotifyUsers();
  return true;
}

// A client with a connection of its own found no server.
bool SharedPool::OnConnectFailed(ConnectFailure why) {
  if (ShareFailure() && !failing_) {
    LogWarn(
        "{} cannot be reached: the connect or the opening of a dedicated connection was {}; "
        "retrying with backoff",
        name_, why == ConnectFailure::kRefused ? "refused" : "not answered in time");
  }
  failing_ = true;
  if (used() && !probe_timer_.armed()) loop_.Arm(probe_timer_, backoff_.Next(random_.Uniform()));
  if (failing()) NotifyUsers();
  return failing();
}

// The failure is old, so check the server at once.
void SharedPool::OnUsed() {
  if (failing_ && !probe_timer_.armed()) loop_.Arm(probe_timer_, absl::ZeroDuration());
}

void SharedPool::OnUnused() {
  probe_timer_.Cancel();
  wake_timer_.Cancel();
  heir_.reset();
  has_waiters_ = false;
  for (size_t i = connections_.size(); i-- > 0;) {
    if (connections_[i]->idle()) connections_[i]->Close();
  }
}

void SharedPool::OnConnectionUp(SharedConnection& connection) {
  addresses_failed_ = 0;
  if (options_.stats == nullptr || options_.stats->reachability.SetReachable(options_.address)) {
    if (failing_) LogInfo("connected to {} again", name_);
  }
  OnReachable();
  refusals_[connection.variant()].backoff.Reset();
  refusals_[connection.variant()].lacking_backoff.Reset();
  turn_began_ = loop_.now();
  OnConnectionRoom(connection);
}

void SharedPool::OnReachable() {
  if (!std::exchange(failing_, false)) return;
  backoff_.Reset();
  probe_timer_.Cancel();
  NotifyUsers();
}

void SharedPool::OnConnectionRoom(SharedConnection& connection) {
  // An unused pool closes each connection after its last reply.
  if ((!used() || connection.retiring()) && connection.idle()) {
    connection.Close();
    return;
  }
  NotifyWaiters();
}

void SharedPool::OnConnectionEnded(SharedConnection& connection, bool never_up,
                                   const absl::Status& why) {
  const auto it = std::find_if(connections_.begin(), connections_.end(),
                               [&](const auto& owned) { return owned.get() == &connection; });
  TRUNKLINE_CHECK(it != connections_.end(), "a pool loses its own connections, each once");
  loop_.Retire(std::move(*it));
  connections_.erase(it);
  open_->Add(-1);
  if (!used()) return;
  if (connection.retiring() && heir_) {
    heir_until_ = loop_.now() + kHeirWait;
    WakeAt(heir_until_);
  }
  using OpeningEnd = SharedConnection::OpeningEnd;
  const OpeningEnd opening = connection.opening_end();
  if (opening != OpeningEnd::kNone && connection.variant() != 0) {
    OnOpeningRefused(connection.variant(), opening == OpeningEnd::kLacking, why);
  } else if (never_up) {
    if (ShareFailure() && !failing_)
      LogWarn("{} cannot be reached: {}; retrying with backoff", name_, StdView(why.message()));
    failing_ = true;
    targets().OnFailed(dial_turn_);
    if (cell() != nullptr) {
      (absl::IsDeadlineExceeded(why) ? cell()->connect_timeouts : cell()->connect_refused).Add();
    }
  } else if (!why.ok()) {
    LogLoss(why);
  }
  // The pool may have closed the connection of a probe.
  if (failing_ && !probe_timer_.armed()) loop_.Arm(probe_timer_, NextDialDelay());
  // A failing pool without connections is unusable.
  if (failing_ && !AnyUp()) NotifyUsers();
  NotifyWaiters();
}

// The address is reachable, so other variants and workers are not affected.
void SharedPool::OnVariantRefused(uint8_t variant, bool lacking) {
  Refusal& refusal = refusals_[variant];
  refusal.lacking = lacking;
  Backoff& backoff = lacking ? refusal.lacking_backoff : refusal.backoff;
  refusal.until = loop_.now() + backoff.Next(random_.Uniform());
}

void SharedPool::OnOpeningRefused(uint8_t variant, bool lacking, const absl::Status& why) {
  OnVariantRefused(variant, lacking);
  const auto more = refusal_log_.Admit(loop_.now());
  if (!more) return;
  LogWarn("{}: {}; clients that ask for this version of the protocol {}{}", name_,
          StdView(why.message()),
          lacking ? "get dedicated connections"
                  : "go to other endpoints or wait, and it is tried again with backoff",
          *more);
}

void SharedPool::OnUnaskedBytes() {
  if (cell() != nullptr) cell()->unasked.Add();
}

// A server that violates the protocol does so on every connection. Such lines and those about
// other losses must not hide each other.
void SharedPool::LogLoss(const absl::Status& why) {
  LogPacer& log = absl::IsInvalidArgument(why) ? protocol_error_log_ : loss_log_;
  const auto more = log.Admit(loop_.now());
  if (!more) return;
  LogWarn("lost a shared connection to {}: {}; requests in flight on it fail or are sent again{}",
          name_, StdView(why.message()), *more);
}

void SharedPool::OnClientStalled(size_t buffered_bytes, absl::Duration age) {
  const auto more = stalled_log_.Admit(loop_.now());
  if (!more) return;
  LogWarn(
      "{}: resetting a client that does not read its replies while other clients wait for the same "
      "connection: {} bytes are buffered for it, the oldest for {}; check the client, or raise "
      "message.shared_connections{}",
      name_, buffered_bytes, absl::FormatDuration(age), *more);
}

void SharedPool::Probe() {
  if (!used() || !failing_) return;
  Reachability* const shared = options_.stats != nullptr ? &options_.stats->reachability : nullptr;
  if (shared != nullptr && !shared->IsFailing(options_.address)) return OnReachable();
  // A dial in progress has the same result. That of another variant may fail by itself.
  const bool dialing = std::any_of(
      connections_.begin(), connections_.end(),
      [](const auto& connection) { return !connection->up() && connection->variant() == 0; });
  if (dialing) return;
  const absl::Duration delay = backoff_.Next(random_.Uniform());
  // All addresses of a server are one probe.
  const bool ours =
      shared == nullptr || addresses_failed_ > 0 || shared->ClaimProbe(loop_.now(), delay);
  if (!ours || Dial(/*variant=*/0, Purpose::kProbe) == nullptr) loop_.Arm(probe_timer_, delay);
}

}  // namespace trunkline
