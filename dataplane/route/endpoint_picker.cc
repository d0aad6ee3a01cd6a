#include "dataplane/route/endpoint_picker.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "dataplane/route/balancer.h"
#include "dataplane/route/least_loaded.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {
namespace {

// A report changes the estimate of its own endpoint at once. The scale, which follows from all
// reports together, is applied to the others this often.
constexpr absl::Duration kRefreshInterval = absl::Milliseconds(50);
// Below this part of the weight, rejecting draws costs more than a table of the candidates.
constexpr double kLeastCandidateShare = 0.5;
// Places of the client table that are tried for one flow before it goes elsewhere by weight.
constexpr size_t kMaxClientTries = 64;

}  // namespace

void EndpointPicker::SetPolicy(BalancingPolicy policy,
                               std::shared_ptr<const MaglevTable> by_client) {
  policy_ = policy;
  by_client_ = std::move(by_client);
  for (size_t i = 0; i < loads_.size(); ++i) SetLoad(i);
}

void EndpointPicker::SetWeights(std::shared_ptr<const AliasTable> table, MonotonicTime now) {
  table_ = std::move(table);
  rotation_stale_ = true;
  usable_ = open_ = {};
  healthy_ = 0;
  for (size_t i = 0; i < states_.size(); ++i) Count(i, 1);
  SetCandidates();
  Refresh(now);
}

void EndpointPicker::SetEndpoints(std::span<const size_t> kept,
                                  std::shared_ptr<const AliasTable> table, MonotonicTime now) {
  std::vector<LoadEstimate> estimates(kept.size());
  std::vector<State> states(kept.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == kNone) continue;
    estimates[i] = estimates_[kept[i]];
    states[i] = states_[kept[i]];
  }
  estimates_ = std::move(estimates);
  states_ = std::move(states);
  loads_.assign(kept.size(), {});
  least_loaded_.SetEndpoints();
  answer_times_.SetEndpoints(kept);
  SetWeights(std::move(table), now);
}

// Adds endpoint i to the groups that it belongs to, or takes it out of them.
void EndpointPicker::Count(size_t i, int sign) {
  const State state = states_[i];
  const double weight = table_->weight(i);
  if (weight <= 0) return;
  if (state.usable) usable_.Add(weight, sign);
  if (IsOpen(state)) open_.Add(weight, sign);
  if (IsHealthy(state)) healthy_ += static_cast<size_t>(sign);
}

void EndpointPicker::Set(size_t i, State state) {
  if (state == states_[i]) return;
  const bool panicked = panics();
  Count(i, -1);
  states_[i] = state;
  Count(i, 1);
  if (table_->weight(i) <= 0) return;
  // All candidates change together when the last healthy endpoint goes or the first one comes.
  if (panics() != panicked) {
    SetCandidates();
  } else {
    SetCandidate(i);
  }
}

void EndpointPicker::SetCandidate(size_t i) {
  const bool candidate = TakesFlows(i);
  const bool gained = candidate && !loads_[i].candidate;
  loads_[i].candidate = candidate;
  least_loaded_.OnCandidatesChanged();
  // A restricted table lacks an endpoint that became a candidate.
  if (IsSparse(balancer_.total_weight()) || (restricted_ && gained)) table_stale_ = true;
}

void EndpointPicker::SetCandidates() {
  for (size_t i = 0; i < states_.size(); ++i) loads_[i].candidate = TakesFlows(i);
  least_loaded_.OnCandidatesChanged();
  table_stale_ = true;
}

bool EndpointPicker::IsSparse(double table_weight) const {
  return candidates().weight < kLeastCandidateShare * table_weight;
}

void EndpointPicker::ChooseTable() {
  table_stale_ = false;
  restricted_ = IsSparse(table_->total_weight());
  if (restricted_) {
    BuildRestricted();
  } else {
    balancer_ = Balancer(table_);
  }
}

void EndpointPicker::BuildRestricted() {
  std::vector<double> weights(loads_.size(), 0.0);
  for (size_t i = 0; i < loads_.size(); ++i) {
    if (loads_[i].candidate) weights[i] = table_->weight(i);
  }
  balancer_ = Balancer(std::make_shared<AliasTable>(weights));
}

// In a service of few endpoints, a worker that sends much of the traffic knows most of what is in
// flight. Where many workers share it, they would all find the same endpoint best at once.
bool EndpointPicker::ComparesAll() const {
  if (loads_.size() > LeastLoaded::kMostEndpoints) return false;
  const double pickers = std::max(static_cast<double>(workers_), share_.scale());
  return pickers <= static_cast<double>(loads_.size());
}

size_t EndpointPicker::PickLeastLoaded(FastRandom& random, std::span<const size_t> excluded) {
  if (ComparesAll()) {
    // Loads are products with a time under least_time, and idle servers differ already.
    const double margin = policy_ == BalancingPolicy::kLeastTime ? 0 : LeastLoaded::kMargin;
    return least_loaded_.Pick(*table_, balancer_, loads_, random, excluded, margin);
  }
  return balancer_.Pick(loads_, random, excluded);
}

size_t EndpointPicker::PickInTurn(FastRandom& random, std::span<const size_t> excluded) {
  if (rotation_stale_) rotation_.Reset(*table_, random);
  rotation_stale_ = false;
  return rotation_.Next(*table_, loads_, excluded);
}

size_t EndpointPicker::PickByClient(FastRandom& random, std::span<const size_t> excluded,
                                    uint64_t client) {
  if (by_client_ == nullptr || by_client_->empty()) return balancer_.Draw(loads_, random, excluded);
  for (size_t attempt = 0; attempt < kMaxClientTries; ++attempt) {
    const size_t i = by_client_->At(client, attempt);
    if (table_->weight(i) > 0 && Balancer::IsEligible(loads_, excluded, i)) return i;
  }
  return balancer_.Draw(loads_, random, excluded);
}

size_t EndpointPicker::Pick(FastRandom& random, std::span<const size_t> excluded, uint64_t client) {
  if (table_stale_) ChooseTable();
  switch (policy_) {
    case BalancingPolicy::kAdaptive:
    case BalancingPolicy::kLeastRequest:
    case BalancingPolicy::kLeastTime:
      return PickLeastLoaded(random, excluded);
    case BalancingPolicy::kStatic:
    case BalancingPolicy::kRoundRobin:
      return PickInTurn(random, excluded);
    case BalancingPolicy::kRandom:
      return balancer_.Draw(loads_, random, excluded);
    case BalancingPolicy::kMaglev:
      return PickByClient(random, excluded, client);
  }
  return kNone;
}

// Under least_time, the cost of a server is its load times its mean answer time. The flow to be
// picked counts as load too, so that idle servers differ by their times.
void EndpointPicker::SetLoad(size_t i) {
  const double in_flight = estimates_[i].InFlight(share_.scale());
  loads_[i].in_flight = policy_ == BalancingPolicy::kLeastTime
                            ? (in_flight + 1) * answer_times_.Seconds(i)
                            : in_flight;
}

void EndpointPicker::AddOwn(size_t i, int32_t change) {
  estimates_[i].AddOwn(change);
  SetLoad(i);
}

void EndpointPicker::OnAnswer(size_t i, absl::Duration time, MonotonicTime now) {
  if (policy_ != BalancingPolicy::kLeastTime) return;
  answer_times_.OnAnswer(i, time, now);
  SetLoad(i);
  if (now - refreshed_at_ >= kRefreshInterval) Refresh(now);
}

void EndpointPicker::OnReport(size_t i, const ServerLoad& load, MonotonicTime now) {
  estimates_[i].OnReport(load, now);
  share_.OnReport(estimates_[i].own(), load.active);
  SetLoad(i);
  if (now - refreshed_at_ >= kRefreshInterval) Refresh(now);
}

void EndpointPicker::ForgetReport(size_t i) {
  estimates_[i].Forget();
  SetLoad(i);
}

MonotonicTime EndpointPicker::ForgetOld(MonotonicTime now,
                                        const std::function<void(size_t)>& forgotten) {
  MonotonicTime oldest = MonotonicTime::Infinite();
  for (size_t i = 0; i < estimates_.size(); ++i) {
    if (estimates_[i].ForgetIfOld(now)) forgotten(i);
    if (estimates_[i].known()) oldest = std::min(oldest, estimates_[i].heard_at());
  }
  Refresh(now);
  return oldest == MonotonicTime::Infinite() ? oldest : oldest + LoadEstimate::kFreshFor;
}

void EndpointPicker::Refresh(MonotonicTime now) {
  refreshed_at_ = now;
  if (policy_ == BalancingPolicy::kLeastTime) answer_times_.Drift(now);
  for (size_t i = 0; i < loads_.size(); ++i) SetLoad(i);
}

}  // namespace trunkline
