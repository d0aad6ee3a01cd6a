#include "dataplane/listen/listener.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

// Accepts per pass, which bounds the delay for established connections to some hundred
// microseconds.
constexpr int kAcceptsPerPass = 16;
// Pause at a limit before the next attempt to accept.
constexpr absl::Duration kPause = absl::Milliseconds(20);
// Pause before the next attempt to watch a socket that epoll refused.
constexpr absl::Duration kWatchAgain = absl::Milliseconds(200);

}  // namespace

Listener::Listener(EventLoop& loop, UniqueFd socket, Acceptor* acceptor, ListenerCell* cell)
    : loop_(loop), socket_(std::move(socket)), acceptor_(acceptor), cell_(cell) {
  unwatched_.BelongTo(&cell->unwatched);
  Watch(EPOLLIN);
}

void Listener::OnEvents(uint32_t) {
  if (!socket_) return;
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    if (!acceptor_->HasRoom()) {
      Pause();
      return;
    }
    UniqueFd client(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) {
      if (IsShortage(errno)) Pause();
      return;
    }
    cell_->accepted.Add();
    acceptor_->OnClient(std::move(client));
  }
}

// Removes the socket from epoll explicitly: if a successor has a copy, closing does not end the
// watch.
Listener::~Listener() {
  if (socket_) loop_.Remove(socket_.get());
}

UniqueFd Listener::TakeSocket() {
  pause_timer_.Cancel();
  loop_.Remove(socket_.get());
  return std::move(socket_);
}

void Listener::Pause() {
  cell_->pauses.Add();
  Watch(0);
  loop_.Arm(pause_timer_, kPause);
}

void Listener::Resume() { Watch(EPOLLIN); }

void Listener::Watch(uint32_t events) {
  const absl::Status watched = loop_.AddOrModify(socket_.get(), events, this);
  if (watched.ok()) {
    if (std::exchange(is_unwatched_, false)) {
      LogInfo("the listening socket of {} is watched again", OwnAddress(socket_.get()).ToString());
    }
    unwatched_.Set(0);
    return;
  }
  unwatched_.Set(1);
  loop_.Arm(pause_timer_, kWatchAgain);
  if (std::exchange(is_unwatched_, true)) return;
  LogError(
      "a listening socket of {} accepts no clients, because epoll cannot watch it: {}; trying "
      "again",
      OwnAddress(socket_.get()).ToString(), StdView(watched.message()));
}

}  // namespace trunkline
