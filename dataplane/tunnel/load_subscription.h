// A trunk's load stream from the proxy's side: asks for an agent's words and hands them on.
//
// Ends for good when the agent refuses, says something that is no word, or more than anybody needs;
// its trunk goes on without it. Confined to its worker's loop; owned by its TrunkPool, which
// retires it when OnLoadEnded is called.
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
    virtual void OnInbandReport(const InbandReport& word) = 0;
    // `fault`: what the agent said was not to be understood.
    virtual void OnLoadEnded(LoadSubscription& subscription, bool fault) = 0;
  };

  // `trunk` is compared only.
  LoadSubscription(EventLoop& loop, const TrunkConnection& trunk, Owner& owner);

  bool is_of(const TrunkConnection& trunk) const { return &trunk_ == &trunk; }
  // Nothing is called any more.
  void Cancel();

 private:
  // The request is whole with its HEADERS.
  Pull PullData(uint8_t*, size_t, size_t*) override { return Pull::kNothing; }
  void OnHeaders(int status) override;
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
