// One worker's listening socket of one service: accepts in small batches, pauses at its limits.
//
// At the client limit, or out of file descriptors, it stops asking epoll instead of spinning or
// dropping: clients wait in the kernel's queue and are taken when there is room again.
//
// Confined to its worker's loop.
#pragma once

#include <functional>

#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class Listener final : public EventHandler {
 public:
  // What it asks before it accepts, and what it gives.
  class Acceptor {
   public:
    virtual ~Acceptor() = default;
    virtual bool HasRoom() = 0;
    virtual void OnClient(UniqueFd client) = 0;
  };

  // `acceptor` and `cell` outlive the listener. A socket that is no longer in listen state accepts
  // nothing.
  Listener(EventLoop& loop, UniqueFd socket, Acceptor* acceptor, ListenerCell* cell);

  ~Listener() override;

  // For another listener; this one accepts nothing more.
  UniqueFd TakeSocket();

 private:
  void OnEvents(uint32_t events) override;
  void Pause();
  void Resume();
  void Watch(uint32_t events);

  EventLoop& loop_;
  UniqueFd socket_;
  Acceptor* const acceptor_;
  ListenerCell* const cell_;
  MemberTimer<Listener, &Listener::Resume> pause_timer_{this};
};

}  // namespace trunkline
