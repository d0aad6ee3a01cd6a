#include "common/trunk/stream_bridge.h"

#include <sys/socket.h>

#include <cerrno>

#include "common/net/socket.h"
#include "common/trunk/trunk_connection.h"

namespace trunkline {
namespace {

constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
// A broken socket's last bytes have this long to find a window.
constexpr absl::Duration kBrokenGrace = absl::Seconds(1);

}  // namespace

StreamBridge::StreamBridge(EventLoop& loop, SocketOf socket_of, absl::Duration idle_timeout)
    : loop_(loop),
      socket_is_client_(socket_of == SocketOf::kClient),
      idle_timeout_(idle_timeout),
      activity_(loop.now()) {
  loop_.Arm(idle_timer_, activity_.Wait(loop.now(), idle_timeout_));
}

void StreamBridge::AdoptSocket(UniqueFd fd, bool try_read_now) {
  fd_ = std::move(fd);
  readable_ = try_read_now;
  if (!try_read_now) Register();
}

void StreamBridge::SendFirst(std::string_view bytes) {
  const ssize_t n = Send(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (n == static_cast<ssize_t>(bytes.size())) return;
  // Its peer has taken it and left: what that one said before is read as ever. The error is off the
  // socket now, and its end would look like a clean one.
  if (n < 0 && !WouldBlock(errno)) return SetBroken();
  Abort(End::kSocketReset);
}

ssize_t StreamBridge::Send(const uint8_t* data, size_t size) {
  if (nagle_ == Nagle::kUntilNextSend) SetNoDelay(fd_.get());
  if (nagle_ != Nagle::kOff) {
    nagle_ = nagle_ == Nagle::kUntilSecondSend ? Nagle::kUntilNextSend : Nagle::kOff;
  }
  return send(fd_.get(), data, size, MSG_NOSIGNAL);
}

void StreamBridge::Register() {
  if (registered_) return;
  registered_ = true;
  const bool watched = loop_.Add(fd_.get(), kReadEvents, this) ||
                       (errno == EEXIST && loop_.Modify(fd_.get(), kReadEvents, this));
  if (!watched) Abort(End::kShutdown);
}

void StreamBridge::CountBytes(Counter* from_socket, Counter* to_socket) {
  from_socket_count_ = from_socket;
  to_socket_count_ = to_socket;
}

void StreamBridge::CarriedFromSocket(size_t bytes) {
  Carried(from_socket_count_, bytes, /*to_server=*/socket_is_client_);
}

void StreamBridge::CarriedToSocket(size_t bytes) {
  Carried(to_socket_count_, bytes, /*to_server=*/!socket_is_client_);
}

void StreamBridge::Carried(Counter* count, size_t bytes, bool to_server) {
  carried_bytes_ = true;
  if (count != nullptr) count->Add(bytes);
  if (!activity_.OnBytes(loop_.now(), to_server)) return;
  if (!broken_) loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), idle_timeout_));
  OnLoadChanged(true);
}

Http2Stream::Pull StreamBridge::PullData(uint8_t* to, size_t capacity, size_t* size) {
  if (socket_broke_) return Pull::kAbort;
  while (readable_ && *size < capacity) {
    const ssize_t n = recv(fd_.get(), to + *size, capacity - *size, 0);
    if (n == 0 && !broken_) {
      fin_sent_ = true;
      if (*size > 0) CarriedFromSocket(*size);
      return Pull::kLast;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || (n < 0 && !WouldBlock(errno))) {
      // Remembered: reading took the error off the socket, and the next end of file would look like
      // a clean one.
      socket_broke_ = true;
      return *size > 0 ? Pull::kMore : Pull::kAbort;
    }
    if (n < 0) {
      readable_ = false;
      break;
    }
    *size += n;
    // A short read emptied the socket, unless a FIN waits behind it.
    if (*size < capacity) readable_ = fin_seen_;
  }
  if (*size > 0) CarriedFromSocket(*size);
  Register();
  return *size > 0 ? Pull::kMore : Pull::kNothing;
}

void StreamBridge::OnEvents(uint32_t events) {
  if (!fd_ || done_) return;
  if (events & EPOLLRDHUP) fin_seen_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    readable_ = true;
    // Before timers run: what has come but is not read is no silence.
    activity_.OnSign(loop_.now());
    if (attached()) session()->Ready(this);
  }
  if ((events & EPOLLOUT) && unsent_ != nullptr) FlushToSocket();
  if (done_ || !(events & EPOLLERR)) return;
  // What came before the reset is still read, unless there is no window for it or nobody who would.
  if (!attached() || fin_sent_ || session()->WindowClosed(this)) {
    Abort(End::kSocketReset);
  } else {
    SetBroken();
  }
}

void StreamBridge::SetBroken() {
  broken_ = true;
  loop_.Arm(idle_timer_, kBrokenGrace);
}

void StreamBridge::OnData(const uint8_t* data, size_t size) {
  if (unsent_ != nullptr || !fd_) {
    KeepForLater(data, size);
    return;
  }
  ssize_t n = Send(data, size);
  if (n < 0 && !WouldBlock(errno)) {
    Abort(End::kSocketReset);
    return;
  }
  if (n < 0) n = 0;
  if (n > 0) {
    CarriedToSocket(n);
    session()->Consume(this, n, loop_.now());
  }
  if (static_cast<size_t>(n) < size) KeepForLater(data + n, size - n);
}

void StreamBridge::KeepForLater(const uint8_t* data, size_t size) {
  if (unsent_ == nullptr) {
    unsent_ = std::make_unique<OutputBuffer>();
    if (fd_) {
      registered_ = true;
      // Registering anew reports EPOLLOUT even if the socket drained meanwhile.
      if (!loop_.Modify(fd_.get(), kReadEvents | EPOLLOUT, this)) {
        loop_.Add(fd_.get(), kReadEvents | EPOLLOUT, this);
      }
    }
  }
  unsent_->Append(data, size);
  unsent_age_.Update(0, unsent_->size(), loop_.now());
  unsent_share_.Set(unsent_->size());
}

void StreamBridge::FlushToSocket() {
  while (unsent_ != nullptr && !unsent_->empty()) {
    const ssize_t n = Send(unsent_->data(), unsent_->size());
    if (n < 0 && WouldBlock(errno)) {
      loop_.Modify(fd_.get(), kReadEvents | EPOLLOUT, this);
      return;
    }
    if (n < 0) {
      Abort(End::kSocketReset);
      return;
    }
    CarriedToSocket(n);
    unsent_->Consume(n);
    unsent_age_.Update(n, unsent_->size(), loop_.now());
    unsent_share_.Set(unsent_->size());
    if (attached()) session()->Consume(this, n, loop_.now(), /*waited=*/true);
  }
  if (unsent_ != nullptr) {
    unsent_.reset();
    loop_.Modify(fd_.get(), kReadEvents, this);
  }
  if (stream_over_) {
    Finish(End::kClean, /*with_reset=*/false);
  } else if (peer_ended_) {
    shutdown(fd_.get(), SHUT_WR);
  }
}

void StreamBridge::OnEnd(bool closing) {
  peer_ended_ = true;
  // When the stream closes with this frame, close() says it without a shutdown before.
  if (!closing && fd_ && unsent_ == nullptr) shutdown(fd_.get(), SHUT_WR);
}

void StreamBridge::OnClosed(uint32_t error_code) {
  if (error_code != NGHTTP2_NO_ERROR || !peer_ended_) {
    const bool lost = error_code == TrunkConnection::kLostCode;
    Finish(socket_broke_ ? End::kSocketReset
           : lost        ? End::kStreamLost
                         : End::kStreamReset,
           /*with_reset=*/true);
    return;
  }
  stream_over_ = true;
  if (unsent_ == nullptr) Finish(End::kClean, /*with_reset=*/false);
}

void StreamBridge::Abort(End end) {
  if (done_) return;
  if (attached()) {
    session()->Abandon(this, end == End::kSocketReset ? NGHTTP2_CONNECT_ERROR : NGHTTP2_CANCEL);
  }
  Finish(end, /*with_reset=*/true);
}

void StreamBridge::Finish(End end, bool with_reset) {
  if (done_) return;
  done_ = true;
  idle_timer_.Cancel();
  unsent_.reset();
  unsent_share_.Set(0);
  OnDone(end);
  // Last: who sees the end finds it counted.
  if (with_reset && fd_) {
    CloseWithReset(std::move(fd_));
  } else {
    fd_.Reset();
  }
}

void StreamBridge::OnIdleTimer() {
  if (broken_) {
    Abort(End::kSocketReset);
    return;
  }
  if (activity_.Settle(loop_.now())) OnLoadChanged(false);
  const absl::Duration wait = activity_.Wait(loop_.now(), idle_timeout_);
  if (wait <= absl::ZeroDuration()) return OnIdle();
  loop_.Arm(idle_timer_, wait);
}

}  // namespace trunkline
