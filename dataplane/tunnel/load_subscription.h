// The proxy's side of a trunk's load stream: subscribes to an agent's in-band load reports and
// passes them on.
//
// Ends for good if the agent refuses, sends an invalid report or exceeds its allowance of bytes;
// its trunk goes on. Confined to its worker's loop; owned by its TrunkPool, which retires it when
// OnLoadEnded is called.
#pragma once

#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"
#include "common/trunk/trunk_connection.h"

namespace trunkline {

class LoadSubscription final : public Http2Stream {
 public:
  // Outlives the subscription.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnInbandReport(const InbandReport& report) = 0;
    // `fault`: the agent sent an invalid report or too many bytes.
    virtual void OnLoadEnded(LoadSubscription& subscription, bool fault) = 0;
  };

  // `trunk` is only compared.
  LoadSubscription(EventLoop& loop, const TrunkConnection& trunk, Owner& owner);

  bool is_of(const TrunkConnection& trunk) const { return &trunk_ == &trunk; }
  // Ends the stream; the owner gets no further calls.
  void Cancel();

 private:
  // The request has no body.
  Pull PullData(uint8_t*, size_t, size_t*) override { return Pull::kNothing; }
  void OnResponse(int status) override;
  void OnData(const uint8_t* data, size_t size) override;
  void OnEnd(bool) override {}
  void OnClosed(uint32_t error_code) override;

  void GiveUp(uint32_t error_code, bool fault);

  EventLoop& loop_;
  const TrunkConnection& trunk_;
  Owner& owner_;
  InbandReportReader reader_;
  FrameAllowance bytes_;
  MonotonicTime forgiven_at_;
};

}  // namespace trunkline
