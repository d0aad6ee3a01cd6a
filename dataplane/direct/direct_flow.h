// A client connection with a server connection of its own: `direct` mode, and what a client in
// `message` mode turns into when it asks for something that cannot be shared.
//
//   FIN from one side -> shutdown(WR) toward the other      RST from one side -> RST to the other
// Nothing is read from the client before the server has taken the connection, so a refused connect
// is tried elsewhere and costs the client nothing.
//
// Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/base/unique_fd.h"
#include "common/net/backlog_age.h"
#include "common/net/event_loop.h"
#include "common/net/flow_activity.h"
#include "dataplane/direct/byte_relay.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

class DirectFlow final : public Flow, private Flushable {
 public:
  // `first`: bytes that were already read from the client.
  DirectFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits,
             std::span<const uint8_t> first = {});
  ~DirectFlow() override;

  void Begin() override;
  bool Start(EndpointState& endpoint) override;
  void GiveUp() override;
  void Shutdown() override { Finish(FlowEnd::kShutdown); }
  void Shed() override { Finish(FlowEnd::kMemory); }
  Buffered buffered() const override;

 private:
  // A socket of the two, as epoll names it.
  class Side final : public EventHandler {
   public:
    explicit Side(DirectFlow* flow) : flow_(flow) {}
    void OnEvents(uint32_t events) override { flow_->OnSide(*this, events); }
    UniqueFd fd;

   private:
    DirectFlow* const flow_;
  };

  void OnFlush() override { Carry(); }
  void OnSide(Side& side, uint32_t events);
  void OnConnected();
  bool SendHeader();
  void OnRefused();
  void OnConnectTimer();
  void OnIdleTimer();
  void OnMoved(bool to_server);
  void GiveBack();
  void CountHeld();
  void Carry();
  bool CarryOne(ByteRelay& relay, Side& source, Side& sink, Counter& bytes);
  void Finish(FlowEnd end);

  EventLoop& loop_;
  const FlowLimits limits_;
  Side client_{this};
  Side server_{this};
  ByteRelay up_;    // client to server
  ByteRelay down_;  // server to client
  GaugeShare unsent_share_;
  GaugeShare pending_share_;
  GaugeShare piped_share_;
  GaugeShare connection_share_;
  GaugeShare reserved_share_;  // until it has its connection
  BacklogAge up_age_;
  BacklogAge down_age_;
  ConnectionLease lease_;
  EndpointCell* cell_ = nullptr;
  bool connected_ = false;
  bool refused_ = false;
  bool carried_ = false;
  bool done_ = false;
  FlowActivity activity_;
  MemberTimer<DirectFlow, &DirectFlow::OnConnectTimer> connect_timer_{this};
  MemberTimer<DirectFlow, &DirectFlow::OnRefused> refused_timer_{this};
  MemberTimer<DirectFlow, &DirectFlow::OnIdleTimer> idle_timer_{this};
};

}  // namespace trunkline
