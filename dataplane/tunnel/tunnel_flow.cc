#include "dataplane/tunnel/tunnel_flow.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/net/socket.h"
#include "common/trunk/client_fields.h"
#include "common/trunk/trunk_connection.h"
#include "dataplane/route/service_router.h"

namespace trunkline {
namespace {

// The copy for a retry. A client that sent more before the response cannot be retried.
constexpr size_t kMaxSentCopyBytes = 64 * 1024;
constexpr int kStatusNotConnected = 503;

// Agents answer 200; other implementations may use any 2xx (RFC 9110, 9.3.6).
bool IsSuccess(int status) { return status >= 200 && status < 300; }

}  // namespace

TunnelFlow::TunnelFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router,
                       const FlowLimits& limits)
    : Flow(router, loop.now()),
      StreamBridge(loop, SocketOf::kClient, limits.idle_timeout),
      first_byte_timeout_(limits.first_byte_timeout) {
  CountUnsent(&router.worker().stats.to_client_buffered_bytes);
  copy_share_.BelongTo(&router.worker().stats.from_client_buffered_bytes);
  AdoptSocket(std::move(client), /*try_read_now=*/true);
  loop.Arm(connect_timer_, limits.connect_timeout);
}

void TunnelFlow::Begin() { router().Route(*this); }

bool TunnelFlow::Start(EndpointState& endpoint) {
  TrunkConnection* trunk = endpoint.carrier->AcquireTrunk();
  if (trunk == nullptr) return false;
  const EndpointSet& set = router().set();
  const ConnectFields fields = origin() == nullptr
                                   ? ConnectFields()
                                   : DescribeClient({set.send_proxy_protocol, origin()->addresses});
  if (!trunk->client_session().Connect(set.authority, this, fields).ok()) return false;
  CountBytes(&endpoint.cell->bytes_to_server, &endpoint.cell->bytes_to_client);
  return true;
}

Http2Stream::Pull TunnelFlow::PullData(uint8_t* to, size_t capacity, size_t* size) {
  TRUNKLINE_CHECK(replayed_ <= sent_copy_.size(), "a replay sends only what was copied");
  if (replayed_ < sent_copy_.size()) {
    *size = std::min(capacity, sent_copy_.size() - replayed_);
    std::memcpy(to, sent_copy_.data() + replayed_, *size);
    replayed_ += *size;
    if (confirmed_) ForgetIfReplayed();
    return Pull::kMore;
  }
  const Pull result = StreamBridge::PullData(to, capacity, size);
  if (!confirmed_ && !done() && *size > 0) Remember(to, *size);
  if (FlowRecord* const log = record()) {
    log->to_server_bytes += *size;
    if (result == Pull::kLast) log->OnClosedBy(FlowSide::kClient);
  }
  return result;
}

void TunnelFlow::Remember(const uint8_t* data, size_t size) {
  if (sent_copy_.size() + size > kMaxSentCopyBytes) {
    replayable_ = false;
    Forget();
  }
  if (!replayable_) return;
  if (sent_copy_.empty()) copied_at_ = loop().now();
  sent_copy_.insert(sent_copy_.end(), data, data + size);
  replayed_ = sent_copy_.size();
  copy_share_.Set(sent_copy_.size());
}

void TunnelFlow::ForgetIfReplayed() {
  if (replayed_ == sent_copy_.size()) Forget();
}

void TunnelFlow::Forget() {
  std::vector<uint8_t>().swap(sent_copy_);
  replayed_ = 0;
  copy_share_.Set(0);
}

void TunnelFlow::OnResponse(int status) {
  if (!IsSuccess(status)) {
    refused_ = true;
    if (status == kStatusNotConnected) router().OnConnectFailed(*this, ConnectFailure::kRefused);
    session()->Abandon(this, NGHTTP2_CANCEL);
    if (!TryAnother()) GiveUp();
    return;
  }
  confirmed_ = true;
  // The response may overtake the replay, when only HEADERS have been sent.
  ForgetIfReplayed();
  router().OnConnected(*this);
  loop().Arm(connect_timer_, first_byte_timeout_);
}

void TunnelFlow::OnData(const uint8_t* data, size_t size) {
  connect_timer_.Cancel();
  if (!std::exchange(answered_, true)) router().OnFirstByte(*this, accepted_at());
  StreamBridge::OnData(data, size);
  if (record() != nullptr) record()->to_client_bytes += size;
}

void TunnelFlow::OnEnd(bool closing) {
  if (record() != nullptr) record()->OnClosedBy(FlowSide::kServer);
  StreamBridge::OnEnd(closing);
}

void TunnelFlow::OnClosed(uint32_t error_code) {
  if (error_code == NGHTTP2_REFUSED_STREAM && RerouteRefused()) return;
  StreamBridge::OnClosed(error_code);
}

void TunnelFlow::Shed() {
  shed_ = true;
  Abort(End::kShutdown);
}

Flow::Buffered TunnelFlow::buffered() const {
  Buffered buffered = {.bytes = sent_copy_.size() + unsent_bytes()};
  if (!sent_copy_.empty()) buffered.since = copied_at_;
  if (unsent_bytes() > 0) {
    buffered.kernel_bytes = QueuedToSend(socket_fd());
    buffered.since = std::min(buffered.since, unsent_since());
  }
  return buffered;
}

bool TunnelFlow::TryAnother() {
  if (confirmed_ || !replayable_) return false;
  replayed_ = 0;
  return router().TryElsewhere(*this);
}

// No server has seen the flow, so this is no retry: it is assigned again, or waits for room.
bool TunnelFlow::RerouteRefused() {
  if (confirmed_ || !replayable_) return false;
  replayed_ = 0;
  router().Release(*this);
  router().Reroute(*this);
  return true;
}

void TunnelFlow::OnConnectTimer() {
  if (confirmed_ && carried_bytes()) return;
  if (!confirmed_ && endpoint() != nullptr) {
    router().OnConnectFailed(*this, ConnectFailure::kTimeout);
  }
  Abort(End::kTimeout);
}

FlowEnd TunnelFlow::EndOf(End end) const {
  switch (end) {
    case End::kClean:
      return FlowEnd::kClean;
    case End::kSocketReset:
      return FlowEnd::kClientReset;
    case End::kStreamReset:
      if (confirmed_) return FlowEnd::kServerReset;
      return refused_ ? FlowEnd::kRefused : FlowEnd::kNoEndpoint;
    case End::kStreamLost:
      return FlowEnd::kTrunkLost;
    case End::kUnwatchable:
      return FlowEnd::kUnwatchable;
    case End::kTimeout:
      return endpoint() == nullptr ? FlowEnd::kNoEndpoint : FlowEnd::kTimeout;
    case End::kShutdown:
      return shed_ ? FlowEnd::kMemory : FlowEnd::kShutdown;
  }
  return FlowEnd::kShutdown;
}

void TunnelFlow::OnLoadChanged(bool is_load) { router().SetLoad(*this, is_load); }

void TunnelFlow::OnDone(End end) {
  connect_timer_.Cancel();
  Forget();
  if (record() != nullptr) record()->to_client_bytes -= unsent_bytes();
  router().OnFlowDone(*this, EndOf(end));
}

}  // namespace trunkline
