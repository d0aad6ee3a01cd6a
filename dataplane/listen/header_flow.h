// A client connection that has not said yet for whom it speaks: where another proxy stands before
// ours, its PROXY protocol header comes before anything else.
//
// Looks at the bytes without taking them until the header is whole, takes exactly that, and goes on
// as a flow of the service's mode, which finds the client's own bytes in the socket as if there had
// never been a header. A connection that begins with anything else is reset, as is one that takes
// longer than the first-byte time-out; one that ends without a byte is a health check's.
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
  // Makes what the client goes on as. Outlives the flow.
  class Opener {
   public:
    virtual ~Opener() = default;
    virtual std::unique_ptr<Flow> NewFlow(UniqueFd client) = 0;
  };

  HeaderFlow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits,
             Opener& opener);

  void Begin() override;
  // It never asks for an endpoint.
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
  GaugeShare reserved_share_;  // for the flow that follows
  bool watched_ = false;
  bool fin_seen_ = false;
  bool done_ = false;
  MemberTimer<HeaderFlow, &HeaderFlow::OnTimer> timer_{this};
};

}  // namespace trunkline
