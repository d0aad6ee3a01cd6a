// A client connection as a stream on a trunk: `tunnel` mode.
//
// Adds to StreamBridge the endpoint, a connect timeout and retries. A flow is retried at another
// endpoint only when it is certain that the first attempt reached no server: the agent answered 503
// (it could not connect), the stream was refused, or its id is above the last id of a GOAWAY. The
// last two cost no retry budget, and the flow waits in the pending queue if no trunk has room. A
// lost trunk allows no retry. For a retry the flow keeps a copy of the client's bytes (at most 64
// KiB) until the agent answers 200; after that nothing is sent twice.
//
// Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <vector>

#include "common/trunk/stream_bridge.h"
#include "dataplane/flow/flow.h"
#include "dataplane/table/endpoint_set.h"

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

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnResponse(int status) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnEnd(bool closing) override;
  void OnClosed(uint32_t error_code) override;
  void OnDone(End end) override;
  void OnLoadChanged(bool is_load) override;
  void OnConnectTimer();

  bool TryAnother();
  bool RerouteRefused();
  void Remember(const uint8_t* data, size_t size);
  void ForgetIfReplayed();
  void Forget();
  FlowEnd EndOf(End end) const;

  const absl::Duration first_byte_timeout_;
  bool confirmed_ = false;
  bool refused_ = false;
  bool shed_ = false;
  bool replayable_ = true;
  bool answered_ = false;           // a byte of the server has arrived
  std::vector<uint8_t> sent_copy_;  // until confirmed and replayed
  GaugeShare copy_share_;
  MonotonicTime copied_at_;  // of the copy's first byte
  size_t replayed_ = 0;
  MemberTimer<TunnelFlow, &TunnelFlow::OnConnectTimer> connect_timer_{this};
};

}  // namespace trunkline
