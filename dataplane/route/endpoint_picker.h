// One service's endpoints as one worker's picks see them: weights, which endpoints are usable or
// ejected, and what is in flight at each.
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
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "dataplane/route/balancer.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {

class EndpointPicker {
 public:
  static constexpr size_t kNone = Balancer::kNone;

  // Takes new weights for the same endpoints.
  void SetWeights(std::shared_ptr<const AliasTable> table, MonotonicTime now);
  // Takes another list of endpoints. `kept[i]` is the old index of endpoint i, or kNone for a new
  // one, which is not usable yet.
  void SetEndpoints(std::span<const size_t> kept, std::shared_ptr<const AliasTable> table,
                    MonotonicTime now);
  size_t size() const { return loads_.size(); }

  // Sets whether a flow that starts now will probably reach the endpoint. O(1).
  void SetUsable(size_t i, bool usable);
  // An ejected endpoint gets flows only if no other can take them. O(1).
  void SetEjected(size_t i, bool ejected);
  bool ejected(size_t i) const { return states_[i].ejected; }

  // Returns true if Pick would find an endpoint.
  bool HasCandidate() const { return usable_.count > 0; }
  // Returns true if an endpoint of positive weight is usable and not ejected.
  bool HasHealthy() const { return !panics(); }
  // Returns an endpoint other than those in `excluded`, ejected ones last, or kNone.
  size_t Pick(FastRandom& random, std::span<const size_t> excluded = {});

  // Records that the worker's own load at endpoint i changed by `change`.
  void AddOwn(size_t i, int32_t change);
  // Records an in-band load report from endpoint i's agent.
  void OnReport(size_t i, const ServerLoad& load, MonotonicTime now);
  // Records that the agent sends no more reports.
  void ForgetReport(size_t i);
  // Drops reports that were not repeated in time, and calls `forgotten` for each. Returns when the
  // next one is due; Infinite() if there is none.
  MonotonicTime ForgetOld(MonotonicTime now, const std::function<void(size_t)>& forgotten);

 private:
  struct State {
    bool usable = false;
    bool ejected = false;
  };
  // The endpoints of positive weight that have some property.
  struct Group {
    size_t count = 0;
    double weight = 0;
    void Add(double w, int sign) {
      count += static_cast<size_t>(sign);
      weight += sign * w;
    }
  };

  bool IsHealthy(size_t i) const { return states_[i].usable && !states_[i].ejected; }
  // Returns true if only ejected endpoints can be reached: a doubtful server is better than none.
  bool panics() const { return healthy_.count == 0; }
  void Change(size_t i, State state);
  void Recount();
  void SetCandidate(size_t i);
  void SetCandidates();
  // Returns true if candidates have so little of a table's weight that most draws would be
  // rejected.
  bool IsSparse(double table_weight) const;
  void ChooseTable();
  void BuildRestricted();
  size_t PickEjected(FastRandom& random, std::span<const size_t> excluded);
  double ScoreOf(size_t i) const { return loads_[i].in_flight * table_->inverse_weight(i); }
  void Refresh(MonotonicTime now);

  std::shared_ptr<const AliasTable> table_ = std::make_shared<AliasTable>();
  Balancer balancer_;
  std::vector<Balancer::Load> loads_;    // input of a pick
  std::vector<LoadEstimate> estimates_;  // input of loads_
  std::vector<State> states_;
  Group usable_;
  Group healthy_;
  bool table_stale_ = false;  // the next pick chooses a table
  bool restricted_ = false;   // balancer_ has a table of candidates only
  TrafficShare share_;
  MonotonicTime refreshed_at_;
  std::vector<double> scores_;  // scratch of Refresh
};

}  // namespace trunkline
