// One client connection on its way through the proxy: from accept to the last byte.
//
// Adds to StreamBridge what a client needs: an endpoint chosen by its ServiceRouter, a time-out for getting there, and a
// second try elsewhere when it is certain that the first one reached no server. For that it keeps a copy of what the
// client sent (at most 64 KiB) until the agent answers 200; after that nothing is ever sent twice.
//
// Safe to retry: the agent says 503 (it could not connect), or the stream was refused or lies above the last id of a
// GOAWAY. Not safe: a trunk that broke.
//
// Confined to its worker's loop; owned by its worker's FlowTable.
#pragma once

#include <cstdint>
#include <vector>

#include "common/stream_bridge.h"
#include "dataplane/endpoint_set.h"

namespace trunkline {

class ServiceRouter;
struct EndpointState;

class Flow final : public StreamBridge {
 public:
  Flow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits);

  // The endpoint that carries it; null while it waits for one.
  EndpointState* endpoint() const { return endpoint_; }
  void set_endpoint(EndpointState* endpoint) { endpoint_ = endpoint; }
  // Endpoints that were tried and could not be reached.
  bool tried(const EndpointState* endpoint) const;
  // No endpoint took it.
  void GiveUp();

  MonotonicTime accepted_at() const { return accepted_at_; }
  bool confirmed() const { return confirmed_; }
  bool was_refused() const { return refused_; }
  size_t table_index = 0;  // FlowTable's

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnHeaders(int status) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnClosed(uint32_t error_code) override;
  void OnDone(End end) override;
  void OnConnectTimer();

  bool TryElsewhere();
  void Remember(const uint8_t* data, size_t size);
  void ForgetIfReplayed();

  ServiceRouter& router_;
  const absl::Duration first_byte_timeout_;
  const MonotonicTime accepted_at_;
  EndpointState* endpoint_ = nullptr;
  std::vector<const EndpointState*> tried_;
  bool confirmed_ = false;
  bool refused_ = false;
  bool replayable_ = true;
  std::vector<uint8_t> sent_copy_;  // until confirmed and replayed
  size_t replayed_ = 0;
  MemberTimer<Flow, &Flow::OnConnectTimer> connect_timer_{this};
};

}  // namespace trunkline
