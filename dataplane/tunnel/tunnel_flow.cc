#include "dataplane/tunnel/tunnel_flow.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "common/base/unique_fd.h"
#include "common/http2/header_list.h"
#include "common/http2/http2_session.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/trunk/client_fields.h"
#include "common/trunk/stream_bridge.h"
#include "common/trunk/trunk_connection.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/route/service_router.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/tunnel/lifecycle.h"

namespace trunkline {
namespace {

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
  copy_.CountIn(&router.worker().stats.from_client_buffered_bytes);
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
  Apply(TunnelEvent::kAssigned);
  return true;
}

Http2Stream::Pull TunnelFlow::PullData(uint8_t* to, size_t capacity, size_t* size) {
  if (!copy_.replayed()) {
    *size = copy_.Replay(to, capacity);
    if (connected() && copy_.replayed()) copy_.Drop();
    return Pull::kMore;
  }
  const Pull result = StreamBridge::PullData(to, capacity, size);
  if (state_ == TunnelState::kOpening && *size > 0) copy_.Add(to, *size, loop().now());
  if (FlowRecord* const log = record()) {
    log->to_server_bytes += *size;
    if (result == Pull::kLast) log->OnClosedBy(FlowSide::kClient);
  }
  return result;
}

void TunnelFlow::OnResponse(int status) {
  if (!IsSuccess(status)) {
    Apply(TunnelEvent::kRefused);
    if (status == kStatusNotConnected) router().OnConnectFailed(*this, ConnectFailure::kRefused);
    session()->Abandon(this, NGHTTP2_CANCEL);
    if (!TryAnother()) GiveUp();
    return;
  }
  Apply(TunnelEvent::kConfirmed);
  // The response may overtake the replay, when only HEADERS have been sent.
  if (copy_.replayed()) copy_.Drop();
  router().OnConnected(*this);
  loop().Arm(connect_timer_, first_byte_timeout_);
}

void TunnelFlow::OnData(const uint8_t* data, size_t size) {
  connect_timer_.Cancel();
  if (state_ == TunnelState::kConfirmed) {
    Apply(TunnelEvent::kFirstByte);
    router().OnFirstByte(*this, accepted_at());
  }
  StreamBridge::OnData(data, size);
  if (record() != nullptr) record()->to_client_bytes += size;
}

void TunnelFlow::OnEnd(bool closing) {
  if (record() != nullptr) record()->OnClosedBy(FlowSide::kServer);
  StreamBridge::OnEnd(closing);
}

void TunnelFlow::OnClosed(uint32_t error_code) {
  if (error_code == NGHTTP2_REFUSED_STREAM && RerouteUnprocessed()) return;
  StreamBridge::OnClosed(error_code);
}

void TunnelFlow::Shed() {
  shutdown_cause_ = FlowEnd::kMemory;
  Abort(End::kShutdown);
}

Flow::Buffered TunnelFlow::buffered() const {
  Buffered buffered = {.bytes = copy_.size() + unsent_bytes()};
  if (copy_.size() > 0) buffered.since = copy_.since();
  if (unsent_bytes() > 0) {
    buffered.kernel_bytes = QueuedToSend(socket_fd());
    buffered.since = std::min(buffered.since, unsent_since());
  }
  return buffered;
}

bool TunnelFlow::TryAnother() {
  if (!replayable()) return false;
  copy_.Rewind();
  return router().TryElsewhere(*this);
}

// No server has seen the flow, so this is no retry: it is assigned again, or waits for room.
bool TunnelFlow::RerouteUnprocessed() {
  if (!replayable()) return false;
  Apply(TunnelEvent::kUnprocessed);
  copy_.Rewind();
  router().Release(*this);
  router().Reroute(*this);
  return true;
}

void TunnelFlow::OnConnectTimer() {
  if (connected() && carried_bytes()) return;
  if (state_ == TunnelState::kOpening) {
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
      if (connected()) return FlowEnd::kServerReset;
      return state_ == TunnelState::kRerouting ? FlowEnd::kRefused : FlowEnd::kNoEndpoint;
    case End::kStreamLost:
      return FlowEnd::kTrunkLost;
    case End::kUnwatchable:
      return FlowEnd::kUnwatchable;
    case End::kTimeout:
      return endpoint() == nullptr ? FlowEnd::kNoEndpoint : FlowEnd::kTimeout;
    case End::kShutdown:
      return shutdown_cause_;
  }
  return FlowEnd::kShutdown;
}

void TunnelFlow::OnLoadChanged(bool is_load) { router().SetLoad(*this, is_load); }

void TunnelFlow::OnDone(End end) {
  connect_timer_.Cancel();
  copy_.Drop();
  if (record() != nullptr) record()->to_client_bytes -= unsent_bytes();
  const FlowEnd cause = EndOf(end);
  const bool unanswered = state_ == TunnelState::kConfirmed && carried_bytes();
  if (unanswered && cause == FlowEnd::kClean) router().OnUnanswered(*this);
  Apply(TunnelEvent::kFinished);
  router().OnFlowDone(*this, cause);
}

}  // namespace trunkline
