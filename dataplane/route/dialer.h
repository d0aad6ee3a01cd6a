// Opens one worker's connections to servers and agents, and separates shortages of this machine
// from faults of the target.
//
// Without descriptors (EMFILE, ENFILE, or the owner's limit) or memory for a socket (ENOBUFS,
// ENOMEM), no endpoint is at fault and no other would do better. So dials stop for a moment, and no
// worker accepts new clients meanwhile (gauge `sockets_short`), which leaves freed descriptors to
// admitted clients. Without a local port toward one server (EADDRNOTAVAIL), another server may
// still work, so nothing else stops. In both cases flows without an endpoint stay in the pending
// queue and are retried until their connect timeout.
//
// Confined to its worker's loop.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class Dialer {
 public:
  // Its worker. Outlives the dialer.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Returns true if a descriptor is left for another connection.
    virtual bool HasSocket() const = 0;
    // Dials for all pending flows before it returns.
    virtual void DialAgain() = 0;
  };

  // `stats` outlives the dialer.
  Dialer(EventLoop& loop, WorkerStats& stats, Owner& owner, Keepalive keepalive = {});

  // Like ConnectTo, but fails at once during a shortage of sockets.
  ConnectResult Connect(const SocketAddress& target);
  // Reports that epoll cannot watch a connection to `target`, and why: a shortage of this machine,
  // as in Connect.
  void OnUnwatchable(const SocketAddress& target, const absl::Status& why);
  // Returns true if the connect failed for a reason on this machine, not at the server.
  static bool IsOurFault(const ConnectResult& result);
  // The setting for connections that live long. Short ones are spared its four system calls.
  const Keepalive& keepalive() const { return keepalive_; }
  // Returns true shortly after a shortage. A flow that times out meanwhile has probably waited for
  // the missing resource.
  bool lacking() const { return timer_.armed(); }

 private:
  void OnLacking(int error, const std::string& what);
  void OnTimer();

  EventLoop& loop_;
  WorkerStats& stats_;
  Owner& owner_;
  const Keepalive keepalive_;
  int blocked_by_ = 0;  // an error for which IsShortage is true; dials stop until the timer fires
  MonotonicTime next_log_at_;
  bool logged_short_ = false;
  MemberTimer<Dialer, &Dialer::OnTimer> timer_{this};
};

}  // namespace trunkline
