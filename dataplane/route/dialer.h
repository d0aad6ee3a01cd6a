// Opens the connections of one worker to servers and agents, and tells what this machine lacks from
// what is wrong at their other end.
//
// Without descriptors (EMFILE, ENFILE, or as many as its owner gives) or memory for a socket
// (ENOBUFS, ENOMEM) no endpoint is at fault and none would do better. So nothing more is tried for
// a moment, and meanwhile no worker takes new clients (the gauge `sockets_short`): what is freed is
// for those who are here. Without a port toward one server (EADDRNOTAVAIL) another server may do,
// and nothing else is held up. Either way those who found no endpoint stay in line, and are tried
// again until their connect time-out.
//
// Confined to its worker's loop.
#pragma once

#include <cerrno>

#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

// No socket can be opened, whatever for.
bool OutOfSockets(int error);

class Dialer {
 public:
  // Its worker. Outlives the dialer.
  class Owner {
   public:
    virtual ~Owner() = default;
    // There is a descriptor for another connection.
    virtual bool HasSocket() const = 0;
    // Dials for whoever waits, before it returns.
    virtual void DialAgain() = 0;
  };

  // `stats` outlives the dialer.
  Dialer(EventLoop& loop, WorkerStats& stats, Owner& owner);

  // As ConnectTo.
  ConnectResult Connect(const SocketAddress& target);
  // epoll cannot watch a connection to `target`: this host's fault, as for Connect.
  void OnUnwatchable(const SocketAddress& target) { OnLacking(ENOSPC, target); }
  // It failed, and the server has nothing to do with it.
  static bool IsOurFault(const ConnectResult& result);
  // Something was lacking a moment ago: who has waited in vain, has waited for that.
  bool lacking() const { return timer_.armed(); }

 private:
  void OnLacking(int error, const SocketAddress& target);
  void OnTimer();

  EventLoop& loop_;
  WorkerStats& stats_;
  Owner& owner_;
  int blocked_by_ = 0;  // an error of OutOfSockets: nothing is tried until the timer fires
  MonotonicTime may_tell_at_;
  bool told_short_ = false;
  MemberTimer<Dialer, &Dialer::OnTimer> timer_{this};
};

}  // namespace trunkline
