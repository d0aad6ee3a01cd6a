// A client connection as a stream on a trunk: `tunnel` mode.
//
// Adds to StreamBridge the endpoint, a connect timeout and retries. A flow is retried at another
// endpoint only when it is certain that the first attempt reached no server: the agent answered 503
// (it could not connect), the stream was refused, or its id is above the last id of a GOAWAY. The
// last two cost no retry budget, and the flow waits in the pending queue if no trunk has room. A
// lost trunk allows no retry. For a retry the flow keeps a copy of the client's bytes until the
// agent answers 200; after that nothing is sent twice. LIFECYCLE.md has its states.
//
// Confined to its worker's loop.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/trunk/stream_bridge.h"
#include "dataplane/flow/flow.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/tunnel/lifecycle.h"
#include "dataplane/tunnel/sent_copy.h"

namespace trunkline {

class TunnelFlow final : public Flow, public StreamBridge {
 public:
  TunnelFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits);

  void Begin() override;
  bool Start(EndpointState& endpoint) override;
  void GiveUp() override { Abort(End::kStreamReset); }
  void Shutdown() override { Abort(End::kShutdown); }
  void Shed() override;
  Buffered buffered() const override;

  TunnelState state() const { return state_; }

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnResponse(int status) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnEnd(bool closing) override;
  void OnClosed(uint32_t error_code) override;
  void OnDone(End end) override;
  void OnLoadChanged(bool is_load) override;
  void OnConnectTimer();

  void Apply(TunnelEvent event) { state_ = kTunnelTable.After(state_, event); }
  // The agent has connected to its server.
  bool connected() const {
    return state_ == TunnelState::kConfirmed || state_ == TunnelState::kAnswered;
  }
  // Another endpoint may get the flow.
  bool replayable() const { return !connected() && copy_.complete(); }
  bool TryAnother();
  bool RerouteUnprocessed();
  FlowEnd EndOf(End end) const;

  const absl::Duration first_byte_timeout_;
  TunnelState state_ = TunnelState::kRouting;
  FlowEnd shutdown_cause_ = FlowEnd::kShutdown;
  SentCopy copy_;  // until the agent has connected and the copy was sent again
  MemberTimer<TunnelFlow, &TunnelFlow::OnConnectTimer> connect_timer_{this};
};

}  // namespace trunkline
