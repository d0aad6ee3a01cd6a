// The trunks of one worker to one agent: keeps one warm, opens more under load, replaces what is
// draining or lost.
//
// One dial at a time, with jittered backoff, also toward an agent whose trunks come up and end at
// once; a fresh trunk counts only once its peer has spoken HTTP/2, so a host that accepts and is
// frozen attracts nothing. It tells its users when usability changed; they decide what goes where.
//
// Confined to its worker's loop. Services whose endpoints have the same agent share a pool. One
// that nobody uses any more drains its trunks.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/backoff.h"
#include "common/base/random.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
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
    // Draining ones come on top, as many again: those of flows that do not end.
    uint32_t max_trunks = 4;
    absl::Duration ping_after = absl::Seconds(5);
    absl::Duration ping_timeout = absl::Seconds(5);
    // A trunk is replaced when its stream ids come this far; see Http2Session::Options.
    int32_t last_stream_id = 1 << 30;
    // A trunk this old is replaced, give or take a fifth, new before old: connections that live for
    // ever keep old paths, old keys and old mistakes of balancing.
    absl::Duration max_age = absl::Minutes(45);
    // What the windows of its streams may grow by; outlives the pool.
    WindowBudget* window_budget = nullptr;
    // Null: trunks are plain.
    std::shared_ptr<const TrunkTls> tls;
  };

  TrunkPool(EventLoop& loop, Dialer& dialer, std::string address, Options options,
            WorkerStats* stats, uint64_t random_seed);
  ~TrunkPool() override;

  void SetTarget(const SocketAddress& target) override;
  void DialAgain() override { DialIfNeeded(); }
  // Some trunk takes a stream now.
  bool usable() const override;
  // The oldest of the least busy trunks that take a stream, or null. May dial another one in the
  // background.
  TrunkConnection* Acquire();
  size_t trunks() const { return trunks_.size(); }

  bool idle() const override { return !used() && trunks_.empty(); }

  // The age at which a trunk is replaced; `uniform` is from [0, 1). Those that came up together, as
  // after an agent's restart, do not go together.
  static absl::Duration JitteredAge(absl::Duration max_age, double uniform);

 private:
  Http2Stream* OnConnect(TrunkConnection& trunk, std::string_view authority, int* status) override;
  void OnTrunkChanged(TrunkConnection& trunk) override;
  void OnTrunkLost(TrunkConnection& trunk, const absl::Status& why) override;

  void OnInbandReport(const InbandReport& word) override;
  void OnLoadEnded(LoadSubscription& subscription, bool fault) override;
  void AskForLoad(TrunkConnection& trunk);
  void Drain(TrunkConnection& trunk);
  void EndLoad(const TrunkConnection& trunk);

  void OnUsed() override { DialIfNeeded(); }
  void OnUnused() override;
  static std::pair<TrunkCongestion::Level, size_t> Burden(TrunkConnection& trunk);
  // Streams on it that make another one worth its connection.
  static size_t Enough(const TrunkConnection& trunk);
  // Those that carry what is new, or will: draining ones go on beside them.
  size_t Current() const;
  absl::Duration Age();
  void Dial();
  void DialIfNeeded();
  void DialAnother();
  void DialLater(const std::string& why);
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
  SocketAddress target_;
  bool has_target_ = false;
  TrunkConnection* dialing_ = nullptr;  // the one that is not up yet
  bool reported_down_ = false;          // logs say it once
  MonotonicTime last_up_;
  std::vector<std::unique_ptr<TrunkConnection>> trunks_;
  std::vector<std::unique_ptr<LoadSubscription>> subscriptions_;  // of each that is up, at most one
  // The oldest trunk leaves when the one that is dialled for it is up.
  bool replacing_ = false;
  MemberTimer<TrunkPool, &TrunkPool::DialIfNeeded> dial_timer_{this};
  MemberTimer<TrunkPool, &TrunkPool::OnAgeTimer> age_timer_{this};
};

}  // namespace trunkline
