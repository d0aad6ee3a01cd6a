#include "dataplane/tunnel/trunk_pool.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/base/backoff.h"
#include "common/base/check.h"
#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "common/trunk/load_offer.h"
#include "common/trunk/trunk_congestion.h"
#include "common/trunk/trunk_connection.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/tunnel/load_subscription.h"

namespace trunkline {
namespace {

// Dialing a dead agent costs one SYN; a much longer wait would keep a restarted agent idle.
constexpr Backoff::Options kDialBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(5), .factor = 2.0};
// From this many streams on the least busy trunk, another trunk is worth its connection; and so it
// is when the trunk is three quarters full, so that no client waits for a dial.
constexpr size_t kStreamsWorthAnotherTrunk = 256;
// A trunk that was up for less is replaced with backoff: its agent may be restarting in a loop.
constexpr absl::Duration kShortLife = absl::Seconds(1);
// The part of a trunk's streams that stays free when it counts as nearly full, so that its
// successor is up before clients have to wait.
constexpr size_t kSparePart = 16;
// A load stream uses one of the agent's concurrent streams, so a trunk with fewer has none.
constexpr size_t kMinStreamsForReports = 16;

}  // namespace

TrunkPool::TrunkPool(EventLoop& loop, Dialer& dialer, std::string address, Options options,
                     WorkerStats* stats, uint64_t random_seed)
    : loop_(loop),
      dialer_(dialer),
      address_(std::move(address)),
      options_(std::move(options)),
      stats_(stats),
      random_(random_seed),
      backoff_(kDialBackoff) {}

TrunkPool::~TrunkPool() = default;

void TrunkPool::OnUnused() {
  dial_timer_.Cancel();
  age_timer_.Cancel();
  // Each Drain or Close may remove its trunk from the list.
  std::vector<TrunkConnection*> ending;
  for (const auto& trunk : trunks_) ending.push_back(trunk.get());
  for (TrunkConnection* trunk : ending) {
    if (trunk == dialing_) {
      trunk->Close(absl::OkStatus());
    } else {
      // Also a trunk without streams: the last bytes of ended ones may be in flight.
      Drain(*trunk);
    }
  }
}

// An open load stream would keep its trunk open for ever.
void TrunkPool::Drain(TrunkConnection& trunk) {
  EndLoad(trunk);
  trunk.Drain();
}

bool TrunkPool::usable() const {
  return std::any_of(trunks_.begin(), trunks_.end(), [](const auto& t) { return t->usable(); });
}

// The cost of another stream, for comparison: first congestion, then the number of streams. Up to
// StreamsWorthAnother streams cost nothing: they do not delay each other, and on one trunk they
// share its reads and writes at both ends.
std::pair<TrunkCongestion::Level, size_t> TrunkPool::Burden(TrunkConnection& trunk) {
  return {trunk.congestion(), trunk.session().open_streams() / StreamsWorthAnother(trunk)};
}

size_t TrunkPool::StreamsWorthAnother(const TrunkConnection& trunk) {
  const size_t most = trunk.max_streams();
  return std::min(kStreamsWorthAnotherTrunk, most - most / 4);
}

size_t TrunkPool::CountCurrent() const {
  return std::count_if(trunks_.begin(), trunks_.end(),
                       [](const auto& t) { return !t->draining(); });
}

// Returns the number of trunks up to which another one may be dialed.
size_t TrunkPool::TrunkLimit() const {
  const bool nearly_full = std::all_of(trunks_.begin(), trunks_.end(), [](const auto& t) {
    const size_t most = t->max_streams();
    return !t->up() || t->session().open_streams() >= most - most / kSparePart;
  });
  return nearly_full ? std::max(options_.max_trunks, options_.max_trunks_when_full)
                     : options_.max_trunks;
}

bool TrunkPool::full() const {
  if (dialing_ != nullptr || CountCurrent() < TrunkLimit()) return false;
  return std::all_of(trunks_.begin(), trunks_.end(), [](const auto& t) {
    return t->draining() || t->session().open_streams() >= t->max_streams();
  });
}

std::string TrunkPool::DescribeFull() const {
  size_t streams = 0;
  for (const auto& trunk : trunks_) streams += trunk->up() ? trunk->session().open_streams() : 0;
  const size_t trunks = CountCurrent();
  return absl::StrCat("all ", streams, " streams of the ", trunks,
                      trunks == 1 ? " trunk" : " trunks", " from a worker to ", address_,
                      " are in use; raise max_trunks_per_endpoint or max_streams_per_trunk of the "
                      "proxy, or max_streams_per_trunk of the agent, or add endpoints");
}

TrunkConnection* TrunkPool::AcquireTrunk() {
  TrunkConnection* best = nullptr;
  for (const auto& trunk : trunks_) {
    if (trunk->usable() && trunk->client_session().IdsNearlySpent()) Drain(*trunk);
    if (!trunk->usable()) continue;
    if (best == nullptr || Burden(*trunk) < Burden(*best)) best = trunk.get();
  }
  const bool busy = best == nullptr || best->congestion() != TrunkCongestion::Level::kNone ||
                    best->session().open_streams() >= StreamsWorthAnother(*best);
  if (busy) DialAnother();
  return best;
}

void TrunkPool::DialIfNeeded() {
  // Clients that arrive while all trunks are full are in the pending queue and call nothing here.
  bool room = false;
  for (const auto& trunk : trunks_) {
    room = room || (trunk->up() && trunk->HasRoom());
  }
  if (!room) DialAnother();
}

void TrunkPool::DialAnother() {
  if (dialing_ == nullptr && !dial_timer_.armed() && CountCurrent() < TrunkLimit()) Dial();
}

void TrunkPool::Dial() {
  if (dialing_ != nullptr || targets().empty() || !used()) return;
  dial_turn_ = targets().turn();
  ConnectResult result = dialer_.Connect(targets().current());
  // The agent is not at fault; the dialer tries again soon.
  if (IsShortage(result.error)) return;
  stats_->dials.Add();
  if (result.state == ConnectState::kFailed || result.state == ConnectState::kRetryLater) {
    DialLater(absl::UnavailableError(ErrorText(result.error)));
    return;
  }
  const TrunkConnection::Options options = {
      .role = TrunkConnection::Role::kClient,
      .session = {.max_streams = options_.max_streams_per_trunk,
                  .last_stream_id = options_.last_stream_id,
                  .window_budget = options_.window_budget},
      .ping_after = options_.ping_after,
      .ping_timeout = options_.ping_timeout,
      .tls = options_.tls.get()};
  TrunkConnection::Owner* const owner = this;
  trunks_.push_back(std::make_unique<TrunkConnection>(loop_, std::move(result.fd), options, owner,
                                                      &stats_->trunk));
  dialing_ = trunks_.back().get();
  stats_->trunks.Add(1);
}

// An agent that is down is logged once. A fault of TLS needs the operator, and is repeated.
void TrunkPool::LogNoTrunk(const absl::Status& why) {
  if (!absl::IsUnauthenticated(why)) {
    if (!reported_down_) LogWarn("no trunk to {}: {}; retrying", address_, StdView(why.message()));
    return;
  }
  const auto more = options_.tls_log->Admit(address_, loop_.now());
  if (!more) return;
  LogWarn("no trunk to {}: {}; this proxy sends no clients there until it is corrected; retrying{}",
          address_, StdView(why.message()), *more);
}

void TrunkPool::DialLater(const absl::Status& why) {
  stats_->dial_failures.Add();
  targets().OnFailed(dial_turn_);
  if (++addresses_failed_ < targets().size()) {
    loop_.Arm(dial_timer_, absl::ZeroDuration());
    return;
  }
  addresses_failed_ = 0;
  LogNoTrunk(why);
  reported_down_ = true;
  loop_.Arm(dial_timer_, backoff_.Next(random_.Uniform()));
}

Http2Stream* TrunkPool::OnConnect(TrunkConnection&, std::string_view, int* status) {
  *status = 405;  // agents open no streams
  return nullptr;
}

void TrunkPool::OnTrunkChanged(TrunkConnection& trunk) {
  if (&trunk == dialing_) {
    dialing_ = nullptr;
    addresses_failed_ = 0;
    last_up_ = loop_.now();
    AskForLoad(trunk);
    stats_->trunks_up.Add();
    if (reported_down_) LogInfo("trunk to {} is up again", address_);
    reported_down_ = false;
    if (std::exchange(replacing_, false)) DrainOldest();
    if (!age_timer_.armed()) loop_.Arm(age_timer_, Age());
  }
  if (trunk.draining()) {
    EndLoad(trunk);
    if (trunk.peer_drains()) {
      LogInfo("agent {} asks for no new streams on a trunk; opening another one", address_);
      Replace();
    }
  }
  DialIfNeeded();
  NotifyUsers();
}

// A trunk that was up ends, and this pool did not drain it.
void TrunkPool::Replace() {
  if (loop_.now() - last_up_ >= kShortLife) {
    backoff_.Reset();
    DialIfNeeded();
  } else if (!dial_timer_.armed()) {
    loop_.Arm(dial_timer_, backoff_.Next(random_.Uniform()));
  }
}

absl::Duration TrunkPool::JitteredAge(absl::Duration max_age, double uniform) {
  return max_age * (0.8 + 0.4 * uniform);
}

absl::Duration TrunkPool::Age() { return JitteredAge(options_.max_age, random_.Uniform()); }

// Each call replaces one trunk; with several trunks the timer fires that much more often.
void TrunkPool::OnAgeTimer() {
  if (!used() || trunks_.empty()) return;
  const size_t current = CountCurrent();
  loop_.Arm(age_timer_, Age() / static_cast<double>(std::max<size_t>(1, current)));
  // Flows that do not end keep their draining trunks, whose number is limited.
  if (dial_timer_.armed() || trunks_.size() - current >= options_.max_trunks) return;
  if (HasSpare()) return DrainOldest();
  replacing_ = true;
  if (dialing_ == nullptr) Dial();
}

// Returns true if one trunk less would suffice, and would for some time.
bool TrunkPool::HasSpare() const {
  size_t up = 0;
  size_t streams = 0;
  size_t limit = kStreamsWorthAnotherTrunk;
  for (const auto& trunk : trunks_) {
    if (!trunk->up()) continue;
    if (trunk->congestion() != TrunkCongestion::Level::kNone) return false;
    ++up;
    limit = std::min(limit, StreamsWorthAnother(*trunk));
    streams += trunk->session().open_streams();
  }
  // Half the number of streams at which the remaining trunks would dial another one.
  return up > 1 && streams < (up - 1) * limit / 2;
}

// The trunks are in the order of their age. The newest stays.
void TrunkPool::DrainOldest() {
  for (const auto& trunk : trunks_) {
    if (trunk.get() == trunks_.back().get()) return;
    if (!trunk->up()) continue;
    Drain(*trunk);
    return;
  }
}

void TrunkPool::AskForLoad(TrunkConnection& trunk) {
  const bool worthwhile =
      PeerOffersLoad(trunk.session()) && trunk.max_streams() >= kMinStreamsForReports;
  if (!worthwhile || !trunk.up()) return;
  LoadSubscription::Owner& owner = *this;
  auto subscription = std::make_unique<LoadSubscription>(loop_, trunk, owner);
  if (!trunkline::AskForLoad(trunk.client_session(), subscription.get()).ok()) return;
  subscriptions_.push_back(std::move(subscription));
  stats_->load_subscriptions.Add(1);
}

void TrunkPool::OnInbandReport(const InbandReport& report) {
  stats_->inband_reports.Add();
  NotifyInbandReport(report);
}

void TrunkPool::OnLoadEnded(LoadSubscription& subscription, bool fault) {
  const auto it = std::find_if(subscriptions_.begin(), subscriptions_.end(),
                               [&](const auto& owned) { return owned.get() == &subscription; });
  TRUNKLINE_CHECK(it != subscriptions_.end(), "a pool ends its own subscriptions, each once");
  loop_.Retire(std::move(*it));
  subscriptions_.erase(it);
  stats_->load_subscriptions.Add(-1);
  if (fault) {
    stats_->load_faults.Add();
    LogWarn("agent {} sends invalid in-band load reports; unsubscribed on this trunk", address_);
  }
  if (subscriptions_.empty()) NotifyLoadUnknown();
}

void TrunkPool::EndLoad(const TrunkConnection& trunk) {
  const auto it = std::find_if(subscriptions_.begin(), subscriptions_.end(),
                               [&](const auto& owned) { return owned->is_of(trunk); });
  if (it == subscriptions_.end()) return;
  (*it)->Cancel();
  OnLoadEnded(**it, /*fault=*/false);
}

void TrunkPool::OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) {
  const auto it = std::find_if(trunks_.begin(), trunks_.end(),
                               [&](const auto& owned) { return owned.get() == &trunk; });
  TRUNKLINE_CHECK(it != trunks_.end(), "a pool loses its own trunks, each once");
  loop_.Retire(std::move(*it));
  trunks_.erase(it);
  stats_->trunks.Add(-1);
  const bool was_dial = dialing_ == &trunk;
  if (was_dial) dialing_ = nullptr;
  if (!used()) return;
  if (was_dial) {
    DialLater(why);
  } else {
    if (!why.ok())
      LogWarn("trunk to {} lost: {}; its streams are reset", address_, StdView(why.message()));
    // A trunk that was drained here is no sign of a fault at the agent.
    if (why.ok() && !trunk.peer_drains()) {
      DialIfNeeded();
    } else {
      Replace();
    }
  }
  NotifyUsers();
}

}  // namespace trunkline
