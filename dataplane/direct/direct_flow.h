// A client connection with an upstream connection of its own: `direct` mode, and the continuation
// of a client in `message` mode that asks for something that cannot be shared.
//
// If the codec of the service wants an opening, the proxy sends it on each connect and discards the
// reply; the client's bytes follow. A server that refuses it, or does not answer it, counts as one
// that refuses the connect.
//
// A FIN from one side becomes a half-close toward the other, a RST becomes a RST. Nothing is read
// from the client before the upstream connection is established, so a refused connect is retried at
// another endpoint and the client does not notice.
//
// LIFECYCLE.md has the states. Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/net/address_list.h"
#include "common/net/backlog_age.h"
#include "common/net/event_loop.h"
#include "common/net/flow_activity.h"
#include "dataplane/codec/opening.h"
#include "dataplane/direct/byte_relay.h"
#include "dataplane/direct/lifecycle.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class DirectFlow final : public Flow, private Flushable {
 public:
  // `first` are bytes that were already read from the client; they go to the server first, behind
  // the opening, which may be null.
  DirectFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits,
             std::span<const uint8_t> first = {},
             std::unique_ptr<ConnectionOpening> opening = nullptr);
  ~DirectFlow() override;

  void Begin() override;
  bool Start(EndpointState& endpoint) override;
  void GiveUp() override;
  void Shutdown() override { Finish(FlowEnd::kShutdown); }
  void Shed() override { Finish(FlowEnd::kMemory); }
  Buffered buffered() const override;

  DirectState state() const { return state_; }

 private:
  // One of the two sockets, as epoll's handler for it.
  class Side final : public EventHandler {
   public:
    explicit Side(DirectFlow* flow) : flow_(flow) {}
    void OnEvents(uint32_t events) override { flow_->OnSide(*this, events); }
    UniqueFd fd;

   private:
    DirectFlow* const flow_;
  };

  void OnFlush() override { Relay(); }
  bool Dial(const AddressRotation& targets);
  void OnSide(Side& side, uint32_t events);
  void OnConnected();
  bool SendHeader();
  void Open();
  bool SendOpening();
  void TakeOpeningReply(uint32_t events);
  void OnOpeningFailed(ConnectFailure why, std::string_view fault, bool lacking = false);
  void ArmAttempt();
  void OnRefused() { OnConnectFailed(ConnectFailure::kRefused); }
  void OnConnectFailed(ConnectFailure why);
  bool DialNextAddress();
  void GoElsewhere(ConnectFailure why);
  void OnConnectTimer();
  void OnIdleTimer();
  void OnMoved(bool to_server);
  void ReleaseLease();
  void CountBuffered();
  void Relay();
  bool RelayOne(ByteRelay& relay, Side& source, Side& sink, Counter& bytes);
  void OnSinkBroken(bool from_client);
  // Counts the end before either side can see it.
  void Finish(FlowEnd end);

  void Apply(DirectEvent event) { state_ = kDirectTable.After(state_, event); }
  // Both sockets exist and are watched.
  bool established() const {
    return state_ == DirectState::kConnected || state_ == DirectState::kRelaying;
  }
  bool side_reset() const {
    return up_.source_end == ByteRelay::SourceEnd::kReset ||
           down_.source_end == ByteRelay::SourceEnd::kReset;
  }

  EventLoop& loop_;
  const FlowLimits limits_;
  const MonotonicTime connect_deadline_;
  DirectState state_ = DirectState::kRouting;
  Side client_{this};
  Side server_{this};
  ByteRelay up_;    // client to server
  ByteRelay down_;  // server to client
  GaugeShare unsent_share_;
  GaugeShare pending_share_;
  GaugeShare piped_share_;
  GaugeShare connection_share_;
  GaugeShare reserved_share_;  // held until the upstream connection exists
  BacklogAge up_age_;
  BacklogAge down_age_;
  std::unique_ptr<ConnectionOpening> opening_;  // null once a server has accepted it
  ConnectionLease lease_;
  uint32_t dial_turn_ = 0;     // of the carrier's addresses, at the last dial
  size_t addresses_left_ = 0;  // that this flow has not dialed at its endpoint
  EndpointCell* cell_ = nullptr;
  FlowActivity activity_;
  bool answered_ = false;       // a byte of the server has reached the client
  bool has_keepalive_ = false;  // set when the flow is idle for the first time
  MemberTimer<DirectFlow, &DirectFlow::OnConnectTimer> connect_timer_{this};
  MemberTimer<DirectFlow, &DirectFlow::OnRefused> refused_timer_{this};
  MemberTimer<DirectFlow, &DirectFlow::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
