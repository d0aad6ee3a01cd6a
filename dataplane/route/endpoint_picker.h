// One service's endpoints as one worker's picks see them: weights, which endpoints are usable, full
// or ejected, and what is in flight at each.
//
// Ejected endpoints are candidates only while none is healthy, so that flows wait for a healthy
// server that is full instead of going to one that is known not to work.
//
// The service's policy decides how: the better of two draws or, where endpoints and workers are
// few, the best of all (least_loaded.h), by load or by load and answer times; in turn (rotation.h);
// at random; or by the client's address (maglev_table.h).
//
// Endpoints are named by their index in the service's list. A change of one endpoint costs O(1):
// its weight stays in the shared table and the balancer rejects it while it is no candidate. Only
// when candidates hold less than half of the weight, the next pick builds a table of the candidates
// alone. New weights cost one pass over plain arrays.
//
// Pure: takes `now`, no clock, no sockets. Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "dataplane/route/answer_times.h"
#include "dataplane/route/balancer.h"
#include "dataplane/route/least_loaded.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/route/rotation.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {

class EndpointPicker {
 public:
  static constexpr size_t kNone = Balancer::kNone;

  // `workers` is how many workers pick from the same endpoints, as far as this one knows.
  explicit EndpointPicker(size_t workers = 1) : workers_(workers) {}

  // Takes the service's policy. `by_client` is the table of its weights under kMaglev, else null.
  void SetPolicy(BalancingPolicy policy, std::shared_ptr<const MaglevTable> by_client);
  // Takes new weights for the same endpoints.
  void SetWeights(std::shared_ptr<const AliasTable> table, MonotonicTime now);
  // Takes another list of endpoints. `kept[i]` is the old index of endpoint i, or kNone for a new
  // one, which is not usable yet.
  void SetEndpoints(std::span<const size_t> kept, std::shared_ptr<const AliasTable> table,
                    MonotonicTime now);
  size_t size() const { return loads_.size(); }

  struct State {
    bool usable = false;   // a flow that starts now will probably reach the endpoint
    bool full = false;     // it is not usable only because a limit is reached
    bool ejected = false;  // connects to it or its health checks fail
    friend bool operator==(const State&, const State&) = default;
  };
  // O(1).
  void Set(size_t i, State state);
  bool ejected(size_t i) const { return states_[i].ejected; }
  // Returns true if Pick may return the endpoint.
  bool IsCandidate(size_t i) const { return loads_[i].candidate && table_->weight(i) > 0; }

  // Returns true if Pick would find an endpoint.
  bool HasCandidate() const { return candidates().count > 0; }
  // Returns true if an endpoint of positive weight is not ejected, and usable or full.
  bool HasHealthy() const { return !panics(); }
  // Returns a candidate other than those in `excluded`, or kNone. `client` is the hash of the
  // client's address under kMaglev.
  size_t Pick(FastRandom& random, std::span<const size_t> excluded = {}, uint64_t client = 0);

  // Records that the worker's own load at endpoint i changed by `change`.
  void AddOwn(size_t i, int32_t change);
  // Records the time until an answer of endpoint i began.
  void OnAnswer(size_t i, absl::Duration time, MonotonicTime now);
  // Records an in-band load report from endpoint i's agent.
  void OnReport(size_t i, const ServerLoad& load, MonotonicTime now);
  // Records that the agent sends no more reports.
  void ForgetReport(size_t i);
  // Drops reports that were not repeated in time, and calls `forgotten` for each. Returns when the
  // next one is due; Infinite() if there is none.
  MonotonicTime ForgetOld(MonotonicTime now, const std::function<void(size_t)>& forgotten);

 private:
  // The endpoints of positive weight that have some property.
  struct Group {
    size_t count = 0;
    double weight = 0;
    void Add(double w, int sign) {
      count += static_cast<size_t>(sign);
      weight += sign * w;
    }
  };

  static bool IsHealthy(State state) { return !state.ejected && (state.usable || state.full); }
  static bool IsOpen(State state) { return !state.ejected && state.usable; }
  // Returns true if no endpoint is healthy: a doubtful server is better than none.
  bool panics() const { return healthy_ == 0; }
  const Group& candidates() const { return panics() ? usable_ : open_; }
  bool TakesFlows(size_t i) const { return panics() ? states_[i].usable : IsOpen(states_[i]); }
  void Count(size_t i, int sign);
  void SetCandidate(size_t i);
  void SetCandidates();
  // Returns true if candidates have so little of a table's weight that most draws would be
  // rejected.
  bool IsSparse(double table_weight) const;
  void ChooseTable();
  void BuildRestricted();
  void Refresh(MonotonicTime now);
  void SetLoad(size_t i);
  bool ComparesAll() const;
  size_t PickLeastLoaded(FastRandom& random, std::span<const size_t> excluded);
  size_t PickInTurn(FastRandom& random, std::span<const size_t> excluded);
  size_t PickByClient(FastRandom& random, std::span<const size_t> excluded, uint64_t client);

  const size_t workers_;
  BalancingPolicy policy_ = BalancingPolicy::kAdaptive;
  std::shared_ptr<const MaglevTable> by_client_;
  std::shared_ptr<const AliasTable> table_ = std::make_shared<AliasTable>();
  Balancer balancer_;
  LeastLoaded least_loaded_;
  Rotation rotation_;
  bool rotation_stale_ = true;
  AnswerTimes answer_times_;
  std::vector<Balancer::Load> loads_;    // input of a pick
  std::vector<LoadEstimate> estimates_;  // input of loads_
  std::vector<State> states_;
  Group usable_;
  Group open_;                // usable and not ejected
  size_t healthy_ = 0;        // those, and full ones that are not ejected
  bool table_stale_ = false;  // the next pick chooses a table
  bool restricted_ = false;   // balancer_ has a table of candidates only
  TrafficShare share_;
  MonotonicTime refreshed_at_;
};

}  // namespace trunkline
