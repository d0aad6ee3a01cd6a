// The connection pool of one worker for one endpoint in `message` mode. It picks the connection of
// each request and decides when to dial another one.
//
// Requests cause dials, and idle connections close after a timeout. After a failed dial, the pool
// dials with jittered backoff only, until one succeeds, here or in another worker. Meanwhile it
// uses the connections that it has; without any it is unusable, and waiting requests go to other
// endpoints. The pools of all workers share the failure state; one of them dials at a time.
//
// A dial for a request leaves time for another endpoint or address, if there is one. A probe has no
// client that waits, so it may last for the whole connect timeout: a server that needs longer than
// a client can wait still comes back. Requests join it only if it succeeds.
//
// Connections of each variant of the protocol are counted by themselves, up to `max_shared`, and
// share `max_connections`. If all places are taken and this variant has none, one of another
// variant's connections gives up its place at the end of its turn: it takes no more requests, and
// closes after the replies that it owes. So clients of all variants make progress, also with one
// connection.
//
// If the opening of variant 0 fails, the server counts as unreachable. That of another variant may
// fail for a reason that concerns it alone, so only that variant is not dialed for a while, with
// jittered backoff; Refuses() returns true only if the server said that it does not speak it.
//
// A connection that a slow client holds up gets requests only if no other connection has room and
// none can be dialed.
//
// Confined to its worker's loop.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/backoff.h"
#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "common/observe/log_pacer.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/shared_connection.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

class SharedPool final : public Carrier, private SharedConnection::Owner {
 public:
  struct Options {
    SharedConnectionOptions connection;
    size_t max_shared = 4;
    // Connections of this worker to the endpoint, direct ones included; 0 means no limit.
    uint32_t max_connections = 0;
    // The endpoint's counters and verdict; null in tests that need neither counters nor other
    // workers.
    std::shared_ptr<EndpointStats> stats;
    size_t worker = 0;
    uint64_t address = 1;  // a key of Reachability
  };

  // `counters` and `open`, the gauge of the worker's open connections, outlive the pool.
  SharedPool(EventLoop& loop, Dialer& dialer, std::string name, Options options,
             std::shared_ptr<ConnectionBudget> budget, SharedCounters* counters, Gauge* open,
             uint64_t random_seed);
  ~SharedPool() override;

  bool usable() const override { return !targets().empty() && (!failing_ || AnyUp()); }
  bool idle() const override { return !used() && connections_.empty(); }
  bool failing() const override { return failing_ && !AnyUp(); }
  bool LearnFailing() override;
  bool OnConnectFailed(ConnectFailure why) override;

  // Returns a connection with room, dialing one if that is worth it, or null.
  SharedConnection* AcquireConnection(uint8_t variant) override;
  bool Refuses(uint8_t variant) const override {
    return refusals_[variant].lacking && loop_.now() < refusals_[variant].until;
  }
  void OnVariantRefused(uint8_t variant, bool lacking) override;
  void Await() override;
  bool MakeRoom() override;
  void OnPlaceFree() override;
  size_t connections() const { return connections_.size(); }

 private:
  // Refusals of the opening of one variant.
  struct Refusal {
    MonotonicTime until = {};  // no connection of the variant is dialed before
    bool lacking = false;      // the server said that it does not speak the variant
    Backoff backoff;
    Backoff lacking_backoff;
  };

  void OnTarget() override;
  void OnUsed() override;
  void OnUnused() override;
  void OnConnectionUp(SharedConnection& connection) override;
  void OnConnectionRoom(SharedConnection& connection) override;
  void OnConnectionEnded(SharedConnection& connection, bool never_up,
                         const absl::Status& why) override;
  // Flows that waited may have left.
  bool HasWaiters() const override { return has_waiters_ && AnyUserWaits(); }
  void OnClientStalled(size_t buffered_bytes, absl::Duration age) override;
  void OnUnaskedBytes() override;
  void LogLoss(const absl::Status& why);
  EndpointCell* cell() const;
  // Tells the other workers that a connect failed; returns true if they did not know.
  bool ShareFailure();
  void OnReachable();
  bool AnyUp() const;
  void NotifyWaiters();
  absl::Duration NextDialDelay();
  // Why it dials.
  enum class Purpose { kRequest, kProbe };
  SharedConnection* Dial(uint8_t variant, Purpose purpose);
  bool MayOpen(uint8_t variant);
  bool TakePlace(uint8_t variant);
  void OnOpeningRefused(uint8_t variant, bool lacking, const absl::Status& why);
  void Probe();
  void WakeAt(MonotonicTime at);
  void OnWake();

  EventLoop& loop_;
  Dialer& dialer_;
  const std::string name_;
  const Options options_;
  const std::shared_ptr<ConnectionBudget> budget_;
  SharedCounters* const counters_;
  Gauge* const open_;
  FastRandom random_;
  Backoff backoff_;
  bool had_target_ = false;
  uint32_t dial_turn_ = 0;       // of targets(), at the last dial
  size_t addresses_failed_ = 0;  // since a connection was up or the last backoff
  bool failing_ = false;         // the last dial failed
  bool has_waiters_ = false;     // flows wait for room and have not been notified yet
  std::array<Refusal, kMostVariants> refusals_;
  MonotonicTime turn_began_;     // a connection was up for the last time
  std::optional<uint8_t> heir_;  // the variant that gets the next free place
  MonotonicTime heir_until_ = MonotonicTime::Infinite();
  MonotonicTime wake_at_;
  std::vector<std::unique_ptr<SharedConnection>> connections_;
  LogPacer stalled_log_;
  LogPacer loss_log_;
  LogPacer protocol_error_log_;
  LogPacer refusal_log_;
  MemberTimer<SharedPool, &SharedPool::Probe> probe_timer_{this};
  MemberTimer<SharedPool, &SharedPool::OnWake> wake_timer_{this};
};

}  // namespace trunkline
