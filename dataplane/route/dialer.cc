#include "dataplane/route/dialer.h"

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

// Descriptors return as clients leave; as long as a listener's pause.
constexpr absl::Duration kTryAgain = absl::Milliseconds(20);
// Limits how often a shortage is logged.
constexpr absl::Duration kLogInterval = absl::Seconds(10);

}  // namespace

Dialer::Dialer(EventLoop& loop, WorkerStats& stats, Owner& owner, Keepalive keepalive)
    : loop_(loop), stats_(stats), owner_(owner), keepalive_(keepalive), next_log_at_(loop.now()) {}

bool Dialer::IsOurFault(const ConnectResult& result) {
  return result.state == ConnectState::kFailed &&
         (IsShortage(result.error) || result.error == EADDRNOTAVAIL);
}

ConnectResult Dialer::Connect(const SocketAddress& target) {
  if (blocked_by_ != 0) {
    return {.fd = UniqueFd(), .state = ConnectState::kFailed, .error = blocked_by_};
  }
  ConnectResult result =
      owner_.HasSocket()
          ? ConnectTo(target)
          : ConnectResult{.fd = UniqueFd(), .state = ConnectState::kFailed, .error = EMFILE};
  if (IsOurFault(result)) {
    OnLacking(result.error,
              absl::StrCat("no ", IsShortage(result.error) ? "socket" : "local port",
                           " for a connection to ", target.ToString(), ": ",
                           ErrorText(result.error), "; clients wait until one is free"));
  }
  return result;
}

void Dialer::OnUnwatchable(const SocketAddress& target, const absl::Status& why) {
  OnLacking(ENOSPC, absl::StrCat("no connection to ", target.ToString(), ": ", why.message(),
                                 "; clients wait meanwhile"));
}

// `what` is the line for the log.
void Dialer::OnLacking(int error, const std::string& what) {
  const bool no_sockets = IsShortage(error);
  if (no_sockets) blocked_by_ = error;
  (no_sockets ? stats_.socket_shortages : stats_.port_shortages).Add();
  if (no_sockets) stats_.sockets_short.Set(1);
  if (!timer_.armed()) loop_.Arm(timer_, kTryAgain);
  if (logged_short_ || loop_.now() < next_log_at_) return;
  next_log_at_ = loop_.now() + kLogInterval;
  logged_short_ = true;
  LogWarn("{}", what);
}

void Dialer::OnTimer() {
  blocked_by_ = 0;
  owner_.DialAgain();
  if (blocked_by_ == 0) stats_.sockets_short.Set(0);
  if (lacking()) return;
  if (std::exchange(logged_short_, false)) {
    LogInfo("the shortage of sockets or local ports is over; connecting again");
  }
}

}  // namespace trunkline
