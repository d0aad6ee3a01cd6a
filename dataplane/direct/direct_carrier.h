// The carrier of one endpoint of a service in `direct` mode: its addresses, and probes while
// connects to it fail.
//
// After a failed connect the carrier is failing until a connect succeeds. It finds that out by
// itself: a probe connects and closes, at growing intervals of up to 5 s. All workers share the
// verdict, so each endpoint that is down costs one connect, not one of every client or worker.
//
// Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/backoff.h"
#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class DirectCarrier final : public Carrier, private EventHandler {
 public:
  // `name` names the endpoint in the log, `address` is where it is, as configured.
  DirectCarrier(EventLoop& loop, Dialer& dialer, std::string name, const std::string& address,
                std::shared_ptr<EndpointStats> stats, uint64_t random_seed);

  bool usable() const override { return !targets().empty(); }
  bool idle() const override { return !used(); }
  bool failing() const override { return failing_; }
  bool LearnFailing() override;
  bool OnConnectFailed(ConnectFailure why) override;
  void OnConnected() override;

 private:
  void OnTarget() override;
  void OnUsed() override;
  void OnUnused() override;
  void OnEvents(uint32_t events) override;
  void OnTimer();
  void SetFailing();
  void Probe();
  void OnProbed(bool connected);
  void Recover();
  absl::Duration NextDelay() { return backoff_.Next(random_.Uniform()); }

  EventLoop& loop_;
  Dialer& dialer_;
  const std::string name_;
  const uint64_t address_;
  const std::shared_ptr<EndpointStats> stats_;
  FastRandom random_;
  Backoff backoff_;
  bool had_target_ = false;
  bool failing_ = false;
  uint32_t probe_turn_ = 0;  // of targets()
  UniqueFd probe_;           // in progress
  MemberTimer<DirectCarrier, &DirectCarrier::OnTimer> timer_{this};
};

}  // namespace trunkline
