#include "common/trunk/stream_bridge.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/http2/http2_session.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "common/net/socket.h"
#include "common/trunk/trunk_connection.h"

namespace trunkline {
namespace {

constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
// How long the last bytes of a reset socket may wait for a window.
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
  if (!try_read_now) WatchReads();
}

void StreamBridge::SendFirst(std::string_view bytes) {
  const ssize_t n = Send(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (n == static_cast<ssize_t>(bytes.size())) return;
  // The server took the connection and reset it: bytes that it sent before are still read. This
  // send cleared the error, so the end of file that follows would look clean.
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

// Returns false if the socket cannot be watched; then the bridge is done.
bool StreamBridge::Watch(uint32_t events) {
  // A subclass may have watched the socket while it connected.
  const absl::Status watched = life_ == Life::kWatched ? loop_.Modify(fd_.get(), events, this)
                                                       : loop_.AddOrModify(fd_.get(), events, this);
  if (watched.ok()) {
    life_ = Life::kWatched;
    return true;
  }
  Abort(End::kUnwatchable);
  return false;
}

bool StreamBridge::WatchReads() { return life_ != Life::kUnwatched || Watch(kReadEvents); }

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
  if (!broken()) loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), idle_timeout_));
  OnLoadChanged(true);
}

Http2Stream::Pull StreamBridge::PullData(uint8_t* to, size_t capacity, size_t* size) {
  if (from_socket_ == FromSocket::kReset) return Pull::kAbort;
  while (readable_ && *size < capacity) {
    const ssize_t n = recv(fd_.get(), to + *size, capacity - *size, 0);
    if (n == 0 && !broken()) {
      from_socket_ = FromSocket::kClosed;
      if (*size > 0) CarriedFromSocket(*size);
      return Pull::kLast;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || (n < 0 && !WouldBlock(errno))) {
      // The read cleared the socket's error, so the next end of file would look clean.
      from_socket_ = FromSocket::kReset;
      return *size > 0 ? Pull::kMore : Pull::kAbort;
    }
    if (n < 0) {
      readable_ = false;
      break;
    }
    *size += n;
    // A short read emptied the socket, unless its end waits behind the bytes.
    if (*size < capacity) readable_ = from_socket_ != FromSocket::kOpen;
  }
  if (*size > 0) CarriedFromSocket(*size);
  if (!WatchReads()) return Pull::kNothing;
  return *size > 0 ? Pull::kMore : Pull::kNothing;
}

void StreamBridge::OnEvents(uint32_t events) {
  if (!fd_ || done()) return;
  if ((events & EPOLLRDHUP) && from_socket_ == FromSocket::kOpen) {
    from_socket_ = FromSocket::kEndSeen;
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    readable_ = true;
    // Events run before timers, so bytes that are there but not read never count as silence.
    activity_.OnSign(loop_.now());
    if (attached()) session()->Ready(this);
  }
  if ((events & EPOLLOUT) && unsent_ != nullptr) FlushToSocket();
  if (!done() && (events & EPOLLERR)) OnSocketError();
}

// Bytes that precede the reset are still read, unless the stream is over or has no window for them.
void StreamBridge::OnSocketError() {
  const bool deaf =
      !attached() || from_socket_ == FromSocket::kClosed || session()->WindowClosed(this);
  if (deaf) {
    Abort(End::kSocketReset);
  } else {
    SetBroken();
  }
}

void StreamBridge::SetBroken() {
  TRUNKLINE_CHECK(from_socket_ != FromSocket::kClosed, "nothing is read after END_STREAM");
  if (from_socket_ != FromSocket::kReset) from_socket_ = FromSocket::kResetSeen;
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
    // Asking again reports EPOLLOUT even if the socket drained meanwhile.
    if (fd_ && !Watch(kReadEvents | EPOLLOUT)) return;
  }
  unsent_->Append(data, size);
  unsent_age_.Update(0, unsent_->size(), loop_.now());
  unsent_share_.Set(unsent_->size());
}

void StreamBridge::FlushToSocket() {
  while (unsent_ != nullptr && !unsent_->empty()) {
    const ssize_t n = Send(unsent_->data(), unsent_->size());
    if (n < 0 && WouldBlock(errno)) {
      Watch(kReadEvents | EPOLLOUT);
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
    if (!Watch(kReadEvents)) return;
  }
  switch (to_socket_) {
    case ToSocket::kOpen:
      return;
    case ToSocket::kHalfClosed:
      shutdown(fd_.get(), SHUT_WR);
      return;
    case ToSocket::kClosed:
      return Finish(End::kClean, /*with_reset=*/false);
  }
}

void StreamBridge::OnEnd(bool closing) {
  to_socket_ = ToSocket::kHalfClosed;
  // If the stream closes with this frame, close() sends the FIN and saves the shutdown.
  if (!closing && fd_ && unsent_ == nullptr) shutdown(fd_.get(), SHUT_WR);
}

void StreamBridge::OnClosed(uint32_t error_code) {
  if (error_code != NGHTTP2_NO_ERROR || to_socket_ != ToSocket::kHalfClosed) {
    const bool lost = error_code == TrunkConnection::kLostCode;
    const End end = lost ? End::kStreamLost : End::kStreamReset;
    Finish(from_socket_ == FromSocket::kReset ? End::kSocketReset : end, /*with_reset=*/true);
    return;
  }
  to_socket_ = ToSocket::kClosed;
  if (unsent_ == nullptr) Finish(End::kClean, /*with_reset=*/false);
}

void StreamBridge::Abort(End end) {
  if (done()) return;
  if (attached()) {
    session()->Abandon(this, end == End::kSocketReset ? NGHTTP2_CONNECT_ERROR : NGHTTP2_CANCEL);
  }
  Finish(end, /*with_reset=*/true);
}

void StreamBridge::Finish(End end, bool with_reset) {
  if (done()) return;
  life_ = Life::kDone;
  idle_timer_.Cancel();
  unsent_share_.Set(0);
  OnDone(end);
  unsent_.reset();
  // The close comes last, so that an end that the peer sees is already counted.
  if (with_reset && fd_) {
    CloseWithReset(std::move(fd_));
  } else {
    fd_.Reset();
  }
}

void StreamBridge::OnIdleTimer() {
  if (broken()) {
    Abort(End::kSocketReset);
    return;
  }
  if (activity_.Settle(loop_.now())) OnLoadChanged(false);
  const absl::Duration wait = activity_.Wait(loop_.now(), idle_timeout_);
  if (wait <= absl::ZeroDuration()) return OnIdle();
  loop_.Arm(idle_timer_, wait);
}

}  // namespace trunkline
