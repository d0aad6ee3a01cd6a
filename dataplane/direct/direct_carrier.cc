#include "dataplane/direct/direct_carrier.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "dataplane/flow/flow.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/reachability.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

constexpr Backoff::Options kProbeBackoff = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(5), .factor = 2.0};
// A server that needs longer for an empty connection cannot take clients either.
constexpr absl::Duration kProbeTimeout = absl::Seconds(2);

}  // namespace

DirectCarrier::DirectCarrier(EventLoop& loop, Dialer& dialer, std::string name,
                             const std::string& address, std::shared_ptr<EndpointStats> stats,
                             uint64_t random_seed)
    : loop_(loop),
      dialer_(dialer),
      name_(std::move(name)),
      address_(Reachability::KeyOf(address)),
      stats_(std::move(stats)),
      random_(random_seed),
      backoff_(kProbeBackoff) {}

void DirectCarrier::OnTarget() {
  if (!std::exchange(had_target_, true)) NotifyUsers();
  // Other addresses of the name may be reachable.
  if (failing_ && !probe_) loop_.Arm(timer_, absl::ZeroDuration());
}

// The failure is old, so check the server at once.
void DirectCarrier::OnUsed() {
  if (failing_ && !probe_) loop_.Arm(timer_, absl::ZeroDuration());
}

void DirectCarrier::OnUnused() {
  timer_.Cancel();
  probe_.Reset();
}

bool DirectCarrier::LearnFailing() {
  if (failing_) return true;
  if (!stats_->reachability.IsFailing(address_)) return false;
  SetFailing();
  return true;
}

bool DirectCarrier::OnConnectFailed(ConnectFailure why) {
  if (stats_->reachability.SetFailing(address_)) {
    LogWarn(
        "{} is ejected: a connect was {}; it gets flows again once a probe connects, until then "
        "only while no endpoint of the service is healthy; check its server",
        name_, why == ConnectFailure::kRefused ? "refused" : "not answered in time");
  }
  if (!failing_) SetFailing();
  return true;
}

void DirectCarrier::SetFailing() {
  failing_ = true;
  if (used()) loop_.Arm(timer_, NextDelay());
  NotifyUsers();
}

// A client's connect succeeded.
void DirectCarrier::OnConnected() {
  if (failing_ || stats_->reachability.IsFailing(address_)) Recover();
}

void DirectCarrier::Recover() {
  if (stats_->reachability.SetReachable(address_)) LogInfo("{} accepts connects again", name_);
  timer_.Cancel();
  probe_.Reset();
  backoff_.Reset();
  if (std::exchange(failing_, false)) NotifyUsers();
}

void DirectCarrier::OnTimer() {
  if (probe_) return OnProbed(false);
  if (!used() || targets().empty()) return;
  // Another worker's probe connected.
  if (!stats_->reachability.IsFailing(address_)) return Recover();
  const absl::Duration delay = NextDelay();
  loop_.Arm(timer_, delay);
  if (stats_->reachability.ClaimProbe(loop_.now(), delay)) Probe();
}

void DirectCarrier::Probe() {
  probe_turn_ = targets().turn();
  ConnectResult result = dialer_.Connect(targets().current());
  if (Dialer::IsOurFault(result)) return;
  if (result.state != ConnectState::kInProgress) {
    return OnProbed(result.state == ConnectState::kConnected);
  }
  probe_ = std::move(result.fd);
  if (!loop_.Add(probe_.get(), EPOLLOUT, this).ok()) {
    probe_.Reset();
    return;
  }
  loop_.Arm(timer_, kProbeTimeout);
}

void DirectCarrier::OnEvents(uint32_t) {
  if (probe_) OnProbed(SocketError(probe_.get()) == 0);
}

void DirectCarrier::OnProbed(bool connected) {
  probe_.Reset();
  if (connected) return Recover();
  targets().OnFailed(probe_turn_);
  loop_.Arm(timer_, NextDelay());
}

}  // namespace trunkline
