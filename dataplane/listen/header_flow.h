// A client connection whose PROXY protocol header is still to come: behind another proxy, the
// header precedes all other bytes and names the client.
//
// Peeks until the header is complete, consumes exactly that, and continues as a flow of the
// service's forwarding mode, which finds the client's own bytes in the socket. A connection that
// begins with other bytes is reset, and so is one that takes longer than the first-byte timeout.
// One that ends without a byte is a health check and ends cleanly.
//
// Confined to its worker's loop.
#pragma once

#include <memory>

#include "common/base/metrics.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow.h"

namespace trunkline {

class HeaderFlow final : public Flow, public EventHandler {
 public:
  // Makes the flow that continues for the client. Outlives the flow.
  class Opener {
   public:
    virtual ~Opener() = default;
    virtual std::unique_ptr<Flow> NewFlow(UniqueFd client) = 0;
  };

  HeaderFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits,
             Opener& opener);

  void Begin() override;
  // A HeaderFlow never asks for an endpoint.
  bool Start(EndpointState&) override { return false; }
  void GiveUp() override { Finish(FlowEnd::kNoEndpoint, /*with_reset=*/true); }
  void Shutdown() override { Finish(FlowEnd::kShutdown, /*with_reset=*/true); }

 private:
  void OnEvents(uint32_t events) override;
  void OnTimer() { Finish(FlowEnd::kTimeout, /*with_reset=*/true); }
  void Look();
  void GoOn(const ProxyHeaderStep& header);
  void Finish(FlowEnd end, bool with_reset);

  EventLoop& loop_;
  Opener& opener_;
  UniqueFd fd_;
  GaugeShare reserved_share_;  // upstream connection that the next flow may need
  bool watched_ = false;
  bool fin_seen_ = false;
  bool done_ = false;
  MemberTimer<HeaderFlow, &HeaderFlow::OnTimer> timer_{this};
};

}  // namespace trunkline
