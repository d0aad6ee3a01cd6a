// One worker's listening socket for one service: accepts in small batches and pauses at its limits.
//
// At the client limit, or without file descriptors, it stops polling instead of spinning or
// dropping: clients wait in the accept queue until there is room. If epoll cannot watch the socket,
// for example at the limit of fs.epoll.max_user_watches, it tries again until epoll can.
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
  // Decides whether there is room, and takes the accepted clients.
  class Acceptor {
   public:
    virtual ~Acceptor() = default;
    virtual bool HasRoom() = 0;
    virtual void OnClient(UniqueFd client) = 0;
  };

  // `acceptor` and `cell` outlive the listener. Accepts nothing if the socket no longer listens.
  Listener(EventLoop& loop, UniqueFd socket, Acceptor* acceptor, ListenerCell* cell);

  ~Listener() override;

  // Returns the socket for another listener. This one accepts nothing more.
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
  GaugeShare unwatched_;
  bool is_unwatched_ = false;
  MemberTimer<Listener, &Listener::Resume> pause_timer_{this};
};

}  // namespace trunkline
