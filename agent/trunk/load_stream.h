// A trunk's load stream from the agent's side: tells one proxy worker how loaded the services here
// are. What is said is always the newest; nothing waits in a queue while the peer does not read.
//
// Confined to its worker's loop; owned by its TrunkWorker, whose timer calls Tick.
#pragma once

#include <vector>

#include "agent/sample/service_traffic.h"
#include "agent/trunk/load_pacer.h"
#include "common/base/metrics.h"
#include "common/http2/http2_session.h"
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

  // References outlive the stream; `trunk` is compared only. `words` counts what is said.
  LoadStream(EventLoop& loop, const TrunkConnection& trunk,
             const std::vector<LocalService>& services, const TrafficTable& traffic, Counter& words,
             Owner& owner);

  bool is_of(const TrunkConnection& trunk) const { return &trunk_ == &trunk; }
  // Looks whether there is something to say. About every 50 ms.
  void Tick();
  // Says nothing more: a stream that stays open would keep its trunk from ending.
  void End();

 private:
  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override;
  void OnHeaders(int status) override;
  void OnData(const uint8_t*, size_t) override {}
  void OnEnd(bool) override {}
  void OnClosed(uint32_t) override { owner_.OnLoadStreamGone(*this); }

  EventLoop& loop_;
  const TrunkConnection& trunk_;
  const std::vector<LocalService>& services_;
  const TrafficTable& traffic_;
  Counter& words_;
  Owner& owner_;
  LoadPacer pacer_;
  bool ending_ = false;
};

}  // namespace trunkline
