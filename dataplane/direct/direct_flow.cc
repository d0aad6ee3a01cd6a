#include "dataplane/direct/direct_flow.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/net/address_list.h"
#include "common/net/event_loop.h"
#include "common/net/send_bytes.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/codec/opening.h"
#include "dataplane/direct/lifecycle.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/route/attempt_time.h"
#include "dataplane/route/dialer.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/route/service_router.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
// Time that the last bytes of a side that was reset have to find room on the other side.
constexpr absl::Duration kResetGrace = absl::Seconds(1);

// A refused connect fails with ECONNREFUSED; these errors mean that the server had accepted it.
bool AcceptedThenReset(int error) { return error == ECONNRESET || error == EPIPE; }

}  // namespace

DirectFlow::DirectFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router,
                       const FlowLimits& limits, std::span<const uint8_t> first,
                       std::unique_ptr<ConnectionOpening> opening)
    : Flow(router, loop.now()),
      loop_(loop),
      limits_(limits),
      connect_deadline_(loop.now() + limits.connect_timeout),
      opening_(std::move(opening)),
      activity_(loop.now()) {
  client_.fd = std::move(client);
  unsent_share_.BelongTo(&router.worker().stats.to_client_buffered_bytes);
  pending_share_.BelongTo(&router.worker().stats.from_client_buffered_bytes);
  piped_share_.BelongTo(&router.worker().stats.piped_bytes);
  connection_share_.BelongTo(&router.worker().stats.direct_connections);
  reserved_share_.BelongTo(&router.worker().stats.reserved_sockets);
  reserved_share_.Set(1);
  up_.max_pipes = down_.max_pipes = router.worker().max_pipes;
  up_.Prime(first);
  up_age_.Update(0, first.size(), loop.now());
  CountBuffered();
  loop_.Arm(connect_timer_, limits_.connect_timeout);
}

DirectFlow::~DirectFlow() { loop_.CancelFlush(this); }

void DirectFlow::Begin() { router().Route(*this); }

bool DirectFlow::Start(EndpointState& endpoint) {
  const AddressRotation& targets = endpoint.carrier->targets();
  if (targets.empty()) return false;
  const auto& budget = endpoint.endpoint().stats->budget(router().worker().index);
  const uint32_t limit = router().max_connections();
  lease_ = ConnectionLease(budget, limit);
  if (!lease_ && endpoint.carrier->MakeRoom()) lease_ = ConnectionLease(budget, limit);
  if (!lease_) return false;
  if (!Dial(targets)) {
    // No carrier is notified of the free place: without a socket, no waiting flow could use it.
    lease_.Reset();
    return false;
  }
  cell_ = endpoint.cell;
  addresses_left_ = targets.size() - 1;
  Apply(DirectEvent::kAssigned);
  ArmAttempt();
  return true;
}

void DirectFlow::ArmAttempt() {
  const bool alternatives = addresses_left_ > 0 || (has_tries_left() && router().has_others());
  loop_.Arm(connect_timer_, AttemptTime(connect_deadline_ - loop_.now(), alternatives));
}

// Returns false if this machine cannot make the connection.
bool DirectFlow::Dial(const AddressRotation& targets) {
  Dialer& dialer = router().worker().dialer;
  ConnectResult result = dialer.Connect(targets.current());
  if (Dialer::IsOurFault(result)) return false;
  dial_turn_ = targets.turn();
  if (result.state != ConnectState::kConnected && result.state != ConnectState::kInProgress) {
    // Deferred, because the router is calling and must not be asked for another endpoint.
    loop_.Arm(refused_timer_, absl::ZeroDuration());
    return true;
  }
  server_.fd = std::move(result.fd);
  // Reports at once that it is writable if it is connected already.
  if (const absl::Status watched = loop_.Add(server_.fd.get(), kWatched, &server_); !watched.ok()) {
    server_.fd.Reset();
    dialer.OnUnwatchable(targets.current(), watched);
    return false;
  }
  reserved_share_.Set(0);
  connection_share_.Set(1);
  return true;
}

void DirectFlow::OnSide(Side& side, uint32_t events) {
  if (state_ == DirectState::kDone || !side.fd) return;
  if (state_ == DirectState::kConnecting) {
    const int error = SocketError(server_.fd.get());
    if (error != 0 && !AcceptedThenReset(error)) return OnConnectFailed(ConnectFailure::kRefused);
    if (opening_ != nullptr && (error != 0 || (events & EPOLLOUT))) return Open();
    // The client still gets the bytes that the server sent before its reset.
    if (error != 0) down_.source_end = ByteRelay::SourceEnd::kReset;
    if (error == 0 && !(events & EPOLLOUT)) return;
    if (!SendHeader()) return Finish(FlowEnd::kServerReset);
    OnConnected();
    if (state_ == DirectState::kDone) return;
  }
  if (state_ == DirectState::kOpening) return TakeOpeningReply(events);
  ByteRelay& from = &side == &client_ ? up_ : down_;
  ByteRelay& to = &side == &client_ ? down_ : up_;
  // A side that fails after its FIN no longer receives, either.
  if ((events & EPOLLERR) && from.ended()) {
    return Finish(&side == &client_ ? FlowEnd::kClientReset : FlowEnd::kServerReset);
  }
  if (events & EPOLLRDHUP) from.OnSourceFin();
  if (events & EPOLLERR) from.source_end = ByteRelay::SourceEnd::kReset;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) from.readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) to.writable = true;
  Relay();
}

// The header goes out before any byte of the client, which is not read until then. A new connection
// has room for all of it. A broken one reports its error once, here; the client still gets the
// bytes that the server sent before, and then a reset.
bool DirectFlow::SendHeader() {
  const ProxyVersion version = router().set().send_proxy_protocol;
  if (origin() == nullptr || version == ProxyVersion::kNone) return true;
  const std::string header = WriteProxyHeader(version, origin()->addresses);
  const ssize_t n = SendBytes(server_.fd.get(), header);
  if (n < 0) down_.source_end = ByteRelay::SourceEnd::kReset;
  return n < 0 || n == static_cast<ssize_t>(header.size());
}

void DirectFlow::Open() {
  if (!SendHeader() || !SendOpening()) return;
  Apply(DirectEvent::kOpeningSent);
  TakeOpeningReply(/*events=*/0);
}

// Returns false if the server has failed. Bytes that are there before the opening was sent answer
// nothing.
bool DirectFlow::SendOpening() {
  std::array<uint8_t, kMostQuotedBytes> early;
  const ssize_t there = recv(server_.fd.get(), early.data(), early.size(), MSG_PEEK | MSG_DONTWAIT);
  if (there > 0) {
    OnOpeningFailed(ConnectFailure::kRefused,
                    absl::StrCat("the server sent bytes before the opening of the connection",
                                 QuoteForLog({early.data(), static_cast<size_t>(there)})));
    return false;
  }
  opening_->Restart();
  const std::string_view bytes = opening_->bytes();
  if (SendBytes(server_.fd.get(), bytes) == static_cast<ssize_t>(bytes.size())) return true;
  OnOpeningFailed(ConnectFailure::kRefused, "the server took no opening of the connection");
  return false;
}

// Reads no byte behind the reply: those are the client's.
void DirectFlow::TakeOpeningReply(uint32_t events) {
  constexpr size_t kPeekBytes = 1024;
  std::array<uint8_t, kPeekBytes> bytes;
  while (true) {
    const ssize_t n = recv(server_.fd.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && WouldBlock(errno)) return;
    if (n <= 0) {
      return OnOpeningFailed(ConnectFailure::kRefused,
                             "the server closed the connection before it answered the opening");
    }
    const ConnectionOpening::Step step = opening_->Read({bytes.data(), static_cast<size_t>(n)});
    recv(server_.fd.get(), bytes.data(), step.used, MSG_DONTWAIT);
    if (step.state == ConnectionOpening::State::kMore) continue;
    if (step.state != ConnectionOpening::State::kAccepted) {
      return OnOpeningFailed(ConnectFailure::kRefused, opening_->fault(),
                             step.state == ConnectionOpening::State::kLacking);
    }
    opening_.reset();
    OnConnected();
    // Epoll reports what is there already with this event only.
    if (events & (EPOLLRDHUP | EPOLLHUP)) down_.OnSourceFin();
    if (state_ != DirectState::kDone) Relay();
    return;
  }
}

// No byte of the client was sent, so the flow may go to another address or endpoint.
void DirectFlow::OnOpeningFailed(ConnectFailure why, std::string_view fault, bool lacking) {
  if (const auto more = router().request_logs().openings.Admit(loop_.now()); more) {
    LogWarn(
        "endpoint {} of service {}: {}; the client that needs a dedicated connection goes to "
        "another endpoint, or is reset if there is none{}",
        endpoint()->endpoint().id, router().set().service, fault, *more);
  }
  down_.source_end = ByteRelay::SourceEnd::kOpen;
  if (DialNextAddress()) {
    if (state_ == DirectState::kOpening) Apply(DirectEvent::kRedialed);
    return ArmAttempt();
  }
  Apply(DirectEvent::kRefused);
  ReleaseLease();
  router().OnOpeningFailed(*this, why, opening_->variant(), lacking);
  GoElsewhere(why);
}

void DirectFlow::OnConnected() {
  Apply(DirectEvent::kConnected);
  router().OnConnected(*this);
  loop_.Arm(connect_timer_, limits_.first_byte_timeout);
  // The time that the client waited for its server does not count as idle.
  activity_.OnSign(loop_.now());
  loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), limits_.idle_timeout));
  if (!loop_.Add(client_.fd.get(), kWatched, &client_).ok()) Finish(FlowEnd::kUnwatchable);
}

// The carrier hands the free place at the endpoint to a waiting flow.
void DirectFlow::ReleaseLease() {
  if (!lease_) return;
  lease_.Reset();
  if (Carrier* carrier = endpoint()->carrier; carrier != nullptr) carrier->OnPlaceFree();
}

void DirectFlow::OnConnectFailed(ConnectFailure why) {
  if (DialNextAddress()) return ArmAttempt();
  Apply(DirectEvent::kRefused);
  ReleaseLease();
  router().OnConnectFailed(*this, why);
  GoElsewhere(why);
}

// Closes the connection. Tries the other addresses of the server before it counts as a failure of
// the endpoint; returns false if none is left.
bool DirectFlow::DialNextAddress() {
  server_.fd.Reset();
  connection_share_.Set(0);
  reserved_share_.Set(1);
  Carrier* const carrier = endpoint()->carrier;
  if (carrier == nullptr) return false;
  carrier->targets().OnFailed(dial_turn_);
  if (addresses_left_ == 0) return false;
  --addresses_left_;
  return Dial(carrier->targets());
}

void DirectFlow::GoElsewhere(ConnectFailure why) {
  const absl::Duration left = connect_deadline_ - loop_.now();
  if (left > absl::ZeroDuration()) {
    loop_.Arm(connect_timer_, left);
    if (router().TryElsewhere(*this)) return;
  }
  Finish(why == ConnectFailure::kRefused ? FlowEnd::kRefused : FlowEnd::kTimeout);
}

void DirectFlow::Relay() {
  if (!established()) return;
  if (!RelayOne(up_, client_, server_, cell_->bytes_to_server)) return;
  if (!RelayOne(down_, server_, client_, cell_->bytes_to_client)) return;
  CountBuffered();
  if (up_.ended() && down_.ended()) Finish(FlowEnd::kClean);
}

void DirectFlow::CountBuffered() {
  unsent_share_.Set(down_.buffered_bytes());
  pending_share_.Set(up_.buffered_bytes());
  piped_share_.Set(up_.piped_bytes() + down_.piped_bytes());
}

// Returns false if the flow is done.
bool DirectFlow::RelayOne(ByteRelay& relay, Side& source, Side& sink, Counter& bytes) {
  uint64_t moved = 0;
  const ByteRelay::Result result = relay.Pump(source.fd.get(), sink.fd.get(), &moved);
  const bool from_client = &source == &client_;
  (from_client ? up_age_ : down_age_).Update(moved, relay.buffered_bytes(), loop_.now());
  if (moved > 0) {
    bytes.Add(moved);
    if (FlowRecord* const log = record()) {
      (from_client ? log->to_server_bytes : log->to_client_bytes) += moved;
    }
    OnMoved(/*to_server=*/from_client);
  }
  switch (result) {
    case ByteRelay::Result::kMore:
      loop_.RequestFlush(this);
      return true;
    case ByteRelay::Result::kWaiting:
      if (relay.source_end == ByteRelay::SourceEnd::kReset && relay.has_buffered_bytes()) {
        loop_.Arm(idle_timer_, kResetGrace);
      }
      return true;
    case ByteRelay::Result::kEnded:
      if (record() != nullptr) {
        record()->OnClosedBy(from_client ? FlowSide::kClient : FlowSide::kServer);
      }
      return true;
    case ByteRelay::Result::kSourceBroke:
      Finish(from_client ? FlowEnd::kClientReset : FlowEnd::kServerReset);
      return false;
    case ByteRelay::Result::kSinkBroke:
      OnSinkBroken(from_client);
      return state_ != DirectState::kDone;
  }
  return true;
}

// The bytes that the sink sent before it failed still reach the source, followed by a reset.
void DirectFlow::OnSinkBroken(bool from_client) {
  ByteRelay& back = from_client ? down_ : up_;
  back.source_end = ByteRelay::SourceEnd::kReset;
  back.readable = true;
  if (back.ended()) return Finish(from_client ? FlowEnd::kServerReset : FlowEnd::kClientReset);
  loop_.Arm(idle_timer_, kResetGrace);
  loop_.RequestFlush(this);
}

void DirectFlow::OnMoved(bool to_server) {
  Apply(DirectEvent::kBytesMoved);
  if (!to_server && !std::exchange(answered_, true)) router().OnFirstByte(*this, accepted_at());
  if (!activity_.OnBytes(loop_.now(), to_server)) return;
  router().SetLoad(*this, true);
  if (side_reset()) return;  // keep the grace timer
  loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), limits_.idle_timeout));
}

Flow::Buffered DirectFlow::buffered() const {
  Buffered buffered = {.bytes = up_.buffered_bytes() + down_.buffered_bytes()};
  if (up_.has_buffered_bytes()) buffered.since = up_age_.since();
  if (down_.has_buffered_bytes()) {
    buffered.kernel_bytes = QueuedToSend(client_.fd.get());
    buffered.since = std::min(buffered.since, down_age_.since());
  }
  return buffered;
}

void DirectFlow::OnConnectTimer() {
  if (state_ == DirectState::kRelaying) return;
  if (state_ == DirectState::kConnecting) return OnConnectFailed(ConnectFailure::kTimeout);
  if (state_ == DirectState::kOpening) {
    return OnOpeningFailed(ConnectFailure::kTimeout,
                           "the server did not answer the opening of the connection in time");
  }
  Finish(endpoint() == nullptr ? FlowEnd::kNoEndpoint : FlowEnd::kTimeout);
}

void DirectFlow::OnIdleTimer() {
  if (side_reset()) {
    const bool client = up_.source_end == ByteRelay::SourceEnd::kReset;
    return Finish(client ? FlowEnd::kClientReset : FlowEnd::kServerReset);
  }
  if (activity_.Settle(loop_.now())) router().SetLoad(*this, false);
  if (!std::exchange(has_keepalive_, true)) {
    SetKeepalive(server_.fd.get(), router().worker().dialer.keepalive());
  }
  const absl::Duration wait = activity_.Wait(loop_.now(), limits_.idle_timeout);
  if (wait <= absl::ZeroDuration()) return Finish(FlowEnd::kTimeout);
  loop_.Arm(idle_timer_, wait);
}

void DirectFlow::GiveUp() {
  Finish(state_ == DirectState::kRerouting ? FlowEnd::kRefused : FlowEnd::kNoEndpoint);
}

void DirectFlow::Finish(FlowEnd end) {
  if (state_ == DirectState::kDone) return;
  const bool unanswered = state_ == DirectState::kRelaying && !answered_;
  if (unanswered && end == FlowEnd::kClean) router().OnUnanswered(*this);
  Apply(DirectEvent::kFinished);
  connect_timer_.Cancel();
  refused_timer_.Cancel();
  idle_timer_.Cancel();
  unsent_share_.Set(0);
  pending_share_.Set(0);
  piped_share_.Set(0);
  connection_share_.Set(0);
  reserved_share_.Set(0);
  ReleaseLease();
  router().OnFlowDone(*this, end);
  if (end == FlowEnd::kClean) {
    client_.fd.Reset();
    server_.fd.Reset();
  } else {
    CloseWithReset(std::move(client_.fd));
    if (server_.fd) CloseWithReset(std::move(server_.fd));
  }
}

}  // namespace trunkline
