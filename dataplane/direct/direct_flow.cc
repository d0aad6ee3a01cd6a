#include "dataplane/direct/direct_flow.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/net/socket.h"
#include "dataplane/route/service_router.h"

namespace trunkline {
namespace {

constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
// The last bytes of a side that broke have this long to find room on the other one.
constexpr absl::Duration kBrokenGrace = absl::Seconds(1);

// A refused connect is ECONNREFUSED; these come only after the server had taken it.
bool TakenAndReset(int error) { return error == ECONNRESET || error == EPIPE; }

}  // namespace

DirectFlow::DirectFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router,
                       const FlowLimits& limits, std::span<const uint8_t> first)
    : Flow(router, loop.now()), loop_(loop), limits_(limits), activity_(loop.now()) {
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
  CountHeld();
  loop_.Arm(connect_timer_, limits_.connect_timeout);
}

DirectFlow::~DirectFlow() { loop_.CancelFlush(this); }

void DirectFlow::Begin() { router().Route(*this); }

bool DirectFlow::Start(EndpointState& endpoint) {
  if (!endpoint.endpoint().resolved) return false;
  const auto& budget = endpoint.endpoint().stats->budget(router().worker().index);
  const uint32_t limit = router().max_connections();
  lease_ = ConnectionLease(budget, limit);
  if (!lease_ && endpoint.carrier->MakeRoom()) lease_ = ConnectionLease(budget, limit);
  if (!lease_) return false;
  ConnectResult result = router().worker().dialer.Connect(*endpoint.endpoint().resolved);
  if (Dialer::IsOurFault(result)) {
    // Nobody who waits is told of the place: without a socket it is of no use to them, either.
    lease_.Reset();
    return false;
  }
  cell_ = endpoint.cell;
  switch (result.state) {
    case ConnectState::kConnected:
    case ConnectState::kInProgress:
      server_.fd = std::move(result.fd);
      // Reports at once that it is writable if it is connected already.
      if (!loop_.Add(server_.fd.get(), kWatched, &server_).ok()) {
        server_.fd.Reset();
        lease_.Reset();
        router().worker().dialer.OnUnwatchable(*endpoint.endpoint().resolved);
        return false;
      }
      reserved_share_.Set(0);
      connection_share_.Set(1);
      return true;
    default:
      // As a refusal that takes a moment: this is called from the router, which does not expect the
      // flow to ask for another endpoint meanwhile.
      loop_.Arm(refused_timer_, absl::ZeroDuration());
      return true;
  }
}

void DirectFlow::OnSide(Side& side, uint32_t events) {
  if (done_ || !side.fd) return;
  if (!connected_) {
    if (&side != &server_) return;
    const int error = SocketError(server_.fd.get());
    if (error != 0 && !TakenAndReset(error)) return OnRefused();
    // What a server said before its reset is still passed on.
    if (error != 0) down_.source_broken = true;
    if (error == 0 && !(events & EPOLLOUT)) return;
    OnConnected();
    if (done_) return;
  }
  ByteRelay& from = &side == &client_ ? up_ : down_;
  ByteRelay& to = &side == &client_ ? down_ : up_;
  // Who broke after its FIN takes nothing any more, either.
  if ((events & EPOLLERR) && from.ended()) {
    return Finish(&side == &client_ ? FlowEnd::kClientReset : FlowEnd::kServerReset);
  }
  if (events & EPOLLRDHUP) from.source_fin = true;
  if (events & EPOLLERR) from.source_broken = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) from.readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) to.writable = true;
  Carry();
}

// Before any byte of the client, which is not read until then. A connection that was just made
// takes it whole. One that is broken already tells its error once, here: what the server said
// before is still read, and its end is then no clean one.
bool DirectFlow::SendHeader() {
  const ProxyVersion version = router().set().send_proxy_protocol;
  if (origin() == nullptr || version == ProxyVersion::kNone) return true;
  const std::string header = WriteProxyHeader(version, origin()->addresses);
  const ssize_t n = send(server_.fd.get(), header.data(), header.size(), MSG_NOSIGNAL);
  if (n < 0) down_.source_broken = true;
  return n < 0 || n == static_cast<ssize_t>(header.size());
}

void DirectFlow::OnConnected() {
  connected_ = true;
  if (!SendHeader()) {
    Finish(FlowEnd::kServerReset);
    return;
  }
  router().OnConnected(*this);
  loop_.Arm(connect_timer_, limits_.first_byte_timeout);
  // A client that waited for its server was not idle.
  activity_.OnSign(loop_.now());
  loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), limits_.idle_timeout));
  if (!loop_.Add(client_.fd.get(), kWatched, &client_).ok()) Finish(FlowEnd::kUnwatchable);
}

// Its place at the endpoint is for whoever waits for it.
void DirectFlow::GiveBack() {
  if (!lease_) return;
  lease_.Reset();
  if (Carrier* carrier = endpoint()->carrier; carrier != nullptr) carrier->OnPlaceFree();
}

void DirectFlow::OnRefused() {
  refused_ = true;
  server_.fd.Reset();
  connection_share_.Set(0);
  reserved_share_.Set(1);
  GiveBack();
  router().OnConnectRefused(*this);
  if (!router().TryElsewhere(*this)) Finish(FlowEnd::kRefused);
}

void DirectFlow::Carry() {
  if (done_ || !connected_) return;
  if (!CarryOne(up_, client_, server_, cell_->bytes_to_server)) return;
  if (!CarryOne(down_, server_, client_, cell_->bytes_to_client)) return;
  CountHeld();
  if (up_.ended() && down_.ended()) Finish(FlowEnd::kClean);
}

void DirectFlow::CountHeld() {
  unsent_share_.Set(down_.held_bytes());
  pending_share_.Set(up_.held_bytes());
  piped_share_.Set(up_.piped_bytes() + down_.piped_bytes());
}

// False: the flow is over.
bool DirectFlow::CarryOne(ByteRelay& relay, Side& source, Side& sink, Counter& bytes) {
  uint64_t moved = 0;
  const ByteRelay::Result result = relay.Pump(source.fd.get(), sink.fd.get(), &moved);
  const bool from_client = &source == &client_;
  (from_client ? up_age_ : down_age_).Update(moved, relay.held_bytes(), loop_.now());
  if (moved > 0) {
    bytes.Add(moved);
    OnMoved(/*to_server=*/from_client);
  }
  switch (result) {
    case ByteRelay::Result::kMore:
      loop_.RequestFlush(this);
      return true;
    case ByteRelay::Result::kWaiting:
      // What a broken source left cannot leave: not for ever.
      if (relay.source_broken && relay.holds_bytes()) loop_.Arm(idle_timer_, kBrokenGrace);
      return true;
    case ByteRelay::Result::kEnded:
      return true;
    case ByteRelay::Result::kSourceBroke:
      Finish(from_client ? FlowEnd::kClientReset : FlowEnd::kServerReset);
      return false;
    case ByteRelay::Result::kSinkBroke: {
      // What the sink said before it broke is still passed on; its end is then no clean one.
      ByteRelay& back = from_client ? down_ : up_;
      back.source_broken = true;
      back.readable = true;
      if (back.ended()) {
        Finish(from_client ? FlowEnd::kServerReset : FlowEnd::kClientReset);
        return false;
      }
      loop_.Arm(idle_timer_, kBrokenGrace);
      loop_.RequestFlush(this);
      return true;
    }
  }
  return true;
}

void DirectFlow::OnMoved(bool to_server) {
  carried_ = true;
  if (!activity_.OnBytes(loop_.now(), to_server)) return;
  router().SetLoad(*this, true);
  if (up_.source_broken || down_.source_broken) return;  // the timer ends it
  loop_.Arm(idle_timer_, activity_.Wait(loop_.now(), limits_.idle_timeout));
}

Flow::Buffered DirectFlow::buffered() const {
  Buffered buffered = {.bytes = up_.held_bytes() + down_.held_bytes()};
  if (up_.holds_bytes()) buffered.since = up_age_.since();
  if (down_.holds_bytes()) {
    buffered.kernel_bytes = QueuedToSend(client_.fd.get());
    buffered.since = std::min(buffered.since, down_age_.since());
  }
  return buffered;
}

void DirectFlow::OnConnectTimer() {
  if (connected_ && carried_) return;
  Finish(endpoint() == nullptr ? FlowEnd::kNoEndpoint : FlowEnd::kTimeout);
}

void DirectFlow::OnIdleTimer() {
  if (up_.source_broken || down_.source_broken) {
    Finish(up_.source_broken ? FlowEnd::kClientReset : FlowEnd::kServerReset);
    return;
  }
  if (activity_.Settle(loop_.now())) router().SetLoad(*this, false);
  const absl::Duration wait = activity_.Wait(loop_.now(), limits_.idle_timeout);
  if (wait <= absl::ZeroDuration()) return Finish(FlowEnd::kTimeout);
  loop_.Arm(idle_timer_, wait);
}

void DirectFlow::GiveUp() { Finish(refused_ ? FlowEnd::kRefused : FlowEnd::kNoEndpoint); }

void DirectFlow::Finish(FlowEnd end) {
  if (done_) return;
  done_ = true;
  connect_timer_.Cancel();
  refused_timer_.Cancel();
  idle_timer_.Cancel();
  unsent_share_.Set(0);
  pending_share_.Set(0);
  piped_share_.Set(0);
  connection_share_.Set(0);
  reserved_share_.Set(0);
  GiveBack();
  router().OnFlowDone(*this, end);
  // Last: who sees the end finds it counted.
  if (end == FlowEnd::kClean) {
    client_.fd.Reset();
    server_.fd.Reset();
  } else {
    CloseWithReset(std::move(client_.fd));
    if (server_.fd) CloseWithReset(std::move(server_.fd));
  }
}

}  // namespace trunkline
