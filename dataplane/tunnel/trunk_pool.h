// The trunks of one worker to one agent: keeps one warm, opens more under load, and replaces those
// that drain or are lost. When all of them are full of streams, it opens further ones up to a
// second limit; when these are full as well, the pool is full, and clients wait for a stream to
// end.
//
// It dials one trunk at a time, with jittered backoff, which also applies to an agent whose trunks
// end soon after they come up. A new trunk counts only after its peer has spoken HTTP/2, so a host
// that accepts connections but is frozen attracts no flows. The pool notifies its users when its
// usability changes; they choose the endpoints.
//
// Confined to its worker's loop. Services whose endpoints have the same agent share a pool. A pool
// without users drains its trunks.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/backoff.h"
#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "common/observe/log_pacer.h"
#include "common/trunk/trunk_connection.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/tunnel/load_subscription.h"

namespace trunkline {

class TrunkPool final : public Carrier,
                        private TrunkConnection::Owner,
                        private LoadSubscription::Owner {
 public:
  struct Options {
    uint32_t max_streams_per_trunk = 1000;
    // Draining trunks come on top, at most as many again: flows that do not end keep them.
    uint32_t max_trunks = 4;
    // The limit while all trunks are nearly full of streams. Values below max_trunks mean that.
    uint32_t max_trunks_when_full = 0;
    absl::Duration ping_after = absl::Seconds(5);
    absl::Duration ping_timeout = absl::Seconds(5);
    // A trunk whose stream ids pass this is replaced; see Http2Session::Options.
    int32_t last_stream_id = 1 << 30;
    // A trunk this old, give or take a fifth, is replaced after its successor is up. A connection
    // that never ends would keep its network path, its keys and its share of the load for ever.
    absl::Duration max_age = absl::Minutes(45);
    // The budget for window growth; outlives the pool.
    WindowBudget* window_budget = nullptr;
    // Null selects plain TCP.
    std::shared_ptr<const TrunkTls> tls;
    // Paces the lines about agents with which TLS fails. Copies share it, so that the pools of all
    // workers log once.
    std::shared_ptr<PeerLogPacer> tls_log = std::make_shared<PeerLogPacer>();
  };

  TrunkPool(EventLoop& loop, Dialer& dialer, std::string address, Options options,
            WorkerStats* stats, uint64_t random_seed);
  ~TrunkPool() override;

  void DialAgain() override { DialIfNeeded(); }
  // Returns true if some trunk accepts a stream now.
  bool usable() const override;
  bool full() const override;
  std::string DescribeFull() const override;
  // Returns the oldest of the least busy trunks that accept a stream, or null. May dial another
  // trunk in the background.
  TrunkConnection* AcquireTrunk() override;
  size_t trunks() const { return trunks_.size(); }

  bool idle() const override { return !used() && trunks_.empty(); }

  // The age at which a trunk is replaced; `uniform` is from [0, 1). The jitter keeps trunks that
  // came up together, as after an agent's restart, from being replaced together.
  static absl::Duration JitteredAge(absl::Duration max_age, double uniform);

 private:
  Http2Stream* OnConnect(TrunkConnection& trunk, std::string_view authority, int* status) override;
  void OnTrunkChanged(TrunkConnection& trunk) override;
  void OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) override;

  void OnInbandReport(const InbandReport& report) override;
  void OnLoadEnded(LoadSubscription& subscription, bool fault) override;
  void AskForLoad(TrunkConnection& trunk);
  void Drain(TrunkConnection& trunk);
  void EndLoad(const TrunkConnection& trunk);

  void OnTarget() override { DialIfNeeded(); }
  void OnUsed() override { DialIfNeeded(); }
  void OnUnused() override;
  static std::pair<TrunkCongestion::Level, size_t> Burden(TrunkConnection& trunk);
  // The number of streams from which another trunk is worth its connection.
  static size_t StreamsWorthAnother(const TrunkConnection& trunk);
  // Trunks that are not draining.
  size_t CountCurrent() const;
  size_t TrunkLimit() const;
  absl::Duration Age();
  void Dial();
  void DialIfNeeded();
  void DialAnother();
  void DialLater(const absl::Status& why);
  void LogNoTrunk(const absl::Status& why);
  void OnAgeTimer();
  bool HasSpare() const;
  void DrainOldest();
  void Replace();

  EventLoop& loop_;
  Dialer& dialer_;
  const std::string address_;
  const Options options_;
  WorkerStats* const stats_;
  FastRandom random_;
  Backoff backoff_;
  uint32_t dial_turn_ = 0;       // of targets(), at the last dial
  size_t addresses_failed_ = 0;  // dials that failed since a trunk was up or the last backoff
  TrunkConnection* dialing_ = nullptr;  // the trunk that is not up yet
  bool reported_down_ = false;          // logged at the transition only
  MonotonicTime last_up_;
  std::vector<std::unique_ptr<TrunkConnection>> trunks_;
  std::vector<std::unique_ptr<LoadSubscription>>
      subscriptions_;  // at most one per trunk that is up
  // The oldest trunk drains when the trunk that is being dialed is up.
  bool replacing_ = false;
  MemberTimer<TrunkPool, &TrunkPool::DialIfNeeded> dial_timer_{this};
  MemberTimer<TrunkPool, &TrunkPool::OnAgeTimer> age_timer_{this};
};

}  // namespace trunkline
