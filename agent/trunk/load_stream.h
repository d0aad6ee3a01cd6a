// The agent's side of a trunk's load stream: sends in-band load reports to one proxy worker. Every
// report has the newest values; none is queued while the peer does not read.
//
// Confined to its worker's loop; owned by its TrunkWorker, whose timer calls Tick.
#pragma once

#include <vector>

#include "agent/sample/service_traffic.h"
#include "agent/trunk/load_pacer.h"
#include "common/base/metrics.h"
#include "common/http2/http2_server_session.h"
#include "common/net/event_loop.h"

namespace trunkline {

struct LocalService;
class TrunkConnection;

class LoadStream final : public Http2Stream {
 public:
  // Outlives the stream.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnLoadStreamGone(LoadStream& stream) = 0;
  };

  // References outlive the stream; `trunk` is only compared. `reports` counts what is sent.
  LoadStream(EventLoop& loop, const TrunkConnection& trunk,
             const std::vector<LocalService>& services, const TrafficTable& traffic,
             Counter& reports, Owner& owner);

  bool is_of(const TrunkConnection& trunk) const { return &trunk_ == &trunk; }
  // Sends the reports that are due. Call about every 50 ms.
  void Tick();
  // Ends the stream: an open one would keep its trunk from ending.
  void End();

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnRequest(Http2ServerSession& session) override;
  void OnData(const uint8_t*, size_t) override {}
  void OnEnd(bool) override {}
  void OnClosed(uint32_t) override { owner_.OnLoadStreamGone(*this); }

  EventLoop& loop_;
  const TrunkConnection& trunk_;
  const std::vector<LocalService>& services_;
  const TrafficTable& traffic_;
  Counter& reports_;
  Owner& owner_;
  LoadPacer pacer_;
  bool ending_ = false;
};

}  // namespace trunkline
