#include "agent/trunk/local_connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "agent/sample/service_traffic.h"
#include "common/http2/http2_server_session.h"
#include "common/net/address_list.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/trunk/stream_bridge.h"

namespace trunkline {
namespace {

// The proxy ends idle flows; this only bounds the streams of a proxy that never does.
constexpr absl::Duration kIdleTimeout = absl::Hours(7 * 24);
// A full accept queue empties at the server's pace; dialing more often would only burn its CPU.
constexpr absl::Duration kQueueFullWait = absl::Milliseconds(5);
constexpr int kStatusConnected = 200;
constexpr int kStatusNotConnected = 503;

// A refused connect is ECONNREFUSED; these errors come only after the server accepted.
bool AcceptedAndReset(int error) { return error == ECONNRESET || error == EPIPE; }

}  // namespace

LocalConnection::LocalConnection(EventLoop& loop, AddressList addresses,
                                 absl::Duration connect_timeout, std::string preface,
                                 ServiceTraffic& traffic, Owner& owner)
    : StreamBridge(loop, SocketOf::kServer, kIdleTimeout),
      addresses_(std::move(addresses)),
      preface_(std::move(preface)),
      traffic_(traffic),
      owner_(owner),
      deadline_(loop.now() + connect_timeout),
      started_(loop.now()) {
  traffic_.active_streams.Add(1);
  traffic_.load_streams.Add(1);
  traffic_.streams_opened.Add();
  CountBytes(&traffic_.bytes_to_proxy, &traffic_.bytes_from_proxy);
}

void LocalConnection::OnRequest(Http2ServerSession& session) {
  answerer_ = &session;
  Connect();
}

void LocalConnection::Connect() {
  if (done()) return;
  if (addresses_ == nullptr) return Refuse();
  ConnectResult result = ConnectToSend(target());
  switch (result.state) {
    case ConnectState::kConnected:
      OnConnected(std::move(result.fd));
      return;
    case ConnectState::kInProgress:
      connecting_ = std::move(result.fd);
      if (!loop().Add(connecting_.get(), EPOLLOUT | EPOLLET, this).ok()) return OnUnwatchable();
      // An address that does not answer leaves time for the others.
      loop().Arm(connect_timer_, (deadline_ - loop().now()) /
                                     static_cast<int64_t>(addresses_->size() - next_address_));
      return;
    case ConnectState::kRetryLater:
      if (loop().now() >= deadline_) {
        Refuse();
      } else {
        loop().Arm(retry_timer_, kQueueFullWait);
      }
      return;
    case ConnectState::kFailed:
      OnAddressFailed();
      return;
  }
}

void LocalConnection::OnEvents(uint32_t events) {
  if (done()) return;
  if (!connecting_) {
    StreamBridge::OnEvents(events);
    return;
  }
  const int error = SocketError(connecting_.get());
  if (error != 0 && !AcceptedAndReset(error)) {
    OnAddressFailed();
    return;
  }
  if (error != 0) SetBroken();
  OnConnected(std::move(connecting_));
}

// The client left during the connect. If the server has accepted meanwhile, it gets the client's
// bytes and sees the client leave, as over a direct connection.
void LocalConnection::OnClosed(uint32_t error_code) {
  if (connecting_ && IsConnected(connecting_.get())) Adopt(std::move(connecting_));
  StreamBridge::OnClosed(error_code);
}

void LocalConnection::OnConnected(UniqueFd fd) {
  connect_timer_.Cancel();
  traffic_.reachable.Set(1);
  traffic_.connect_latency.Record(loop().now().nanos() - started_.nanos());
  answerer_->Respond(this, kStatusConnected);
  Adopt(std::move(fd));
}

void LocalConnection::Adopt(UniqueFd fd) {
  AdoptSocket(std::move(fd), /*try_read_now=*/false);
  if (target().family() != AF_UNIX) set_fresh();
  if (!is_load()) KeepAlive();
  if (!done() && !preface_.empty()) SendFirst(preface_);
  if (!done()) FlushToSocket();
  if (!done() && sent_nothing()) loop().RequestFlush(this);
}

void LocalConnection::OnFlush() {
  if (done() || !sent_nothing()) return;
  if (attached() && session()->has_unread()) {
    loop().RequestFlush(this);
  } else {
    AcknowledgeConnect(socket_fd());
  }
}

void LocalConnection::OnAddressFailed() {
  connect_timer_.Cancel();
  if (connecting_) CloseWithReset(std::move(connecting_));
  if (next_address_ + 1 == addresses_->size()) return Refuse();
  ++next_address_;
  Connect();
}

void LocalConnection::Refuse() {
  traffic_.errors_connect.Add();
  traffic_.reachable.Set(0);
  if (attached()) answerer_->Respond(this, kStatusNotConnected);
  Abort(End::kShutdown);
}

// This host is out of epoll watches: the server is not at fault, but another endpoint may do.
void LocalConnection::OnUnwatchable() {
  if (attached()) answerer_->Respond(this, kStatusNotConnected);
  Abort(End::kUnwatchable);
}

void LocalConnection::OnLoadChanged(bool is_load) {
  traffic_.load_streams.Add(is_load ? 1 : -1);
  if (!is_load) KeepAlive();
}

// Most connections end before they are idle, and save these system calls.
void LocalConnection::KeepAlive() {
  if (socket_fd() < 0 || target().family() == AF_UNIX) return;
  if (!std::exchange(has_keepalive_, true)) SetKeepalive(socket_fd(), Keepalive());
}

void LocalConnection::OnDone(End end) {
  retry_timer_.Cancel();
  connect_timer_.Cancel();
  loop().CancelFlush(this);
  if (connecting_) CloseWithReset(std::move(connecting_));
  traffic_.active_streams.Add(-1);
  if (is_load()) traffic_.load_streams.Add(-1);
  if (end == End::kClean) traffic_.successes.Add();
  if (end == End::kSocketReset) traffic_.errors_reset.Add();
  if (end == End::kUnwatchable) traffic_.errors_connect.Add();
  owner_.OnConnectionGone(*this, end);
}

}  // namespace trunkline
