#include "dataplane/route/endpoint_picker.h"

#include <algorithm>
#include <utility>

namespace trunkline {
namespace {

// A report changes the estimate of its own endpoint at once. What follows from all reports
// together, the scale and the hot endpoints, is computed this often.
constexpr absl::Duration kRefreshInterval = absl::Milliseconds(50);
// Below this part of the weight, rejecting draws costs more than a table of the candidates.
constexpr double kLeastCandidateShare = 0.5;

}  // namespace

void EndpointPicker::SetWeights(std::shared_ptr<const AliasTable> table, MonotonicTime now) {
  table_ = std::move(table);
  Recount();
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
  SetWeights(std::move(table), now);
}

void EndpointPicker::Recount() {
  usable_ = healthy_ = {};
  for (size_t i = 0; i < states_.size(); ++i) {
    if (table_->weight(i) <= 0) continue;
    if (states_[i].usable) usable_.Add(table_->weight(i), 1);
    if (IsHealthy(i)) healthy_.Add(table_->weight(i), 1);
  }
}

void EndpointPicker::SetUsable(size_t i, bool usable) {
  Change(i, {.usable = usable, .ejected = states_[i].ejected});
}

void EndpointPicker::SetEjected(size_t i, bool ejected) {
  Change(i, {.usable = states_[i].usable, .ejected = ejected});
}

void EndpointPicker::Change(size_t i, State state) {
  const bool was_usable = states_[i].usable;
  const bool was_healthy = IsHealthy(i);
  const bool panicked = panics();
  states_[i] = state;
  const double weight = table_->weight(i);
  if (weight <= 0) return;
  if (state.usable != was_usable) usable_.Add(weight, state.usable ? 1 : -1);
  if (IsHealthy(i) != was_healthy) healthy_.Add(weight, was_healthy ? -1 : 1);
  // All candidates change together when the last healthy endpoint goes or the first one comes.
  if (panics() != panicked) {
    SetCandidates();
  } else {
    SetCandidate(i);
  }
}

void EndpointPicker::SetCandidate(size_t i) {
  const bool candidate = panics() ? states_[i].usable : IsHealthy(i);
  const bool gained = candidate && !loads_[i].candidate;
  loads_[i].candidate = candidate;
  // A restricted table lacks an endpoint that became a candidate.
  if (IsSparse(balancer_.total_weight()) || (restricted_ && gained)) table_stale_ = true;
}

void EndpointPicker::SetCandidates() {
  for (size_t i = 0; i < states_.size(); ++i) {
    loads_[i].candidate = panics() ? states_[i].usable : IsHealthy(i);
  }
  table_stale_ = true;
}

bool EndpointPicker::IsSparse(double table_weight) const {
  const Group& candidates = panics() ? usable_ : healthy_;
  return candidates.weight < kLeastCandidateShare * table_weight;
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

size_t EndpointPicker::Pick(FastRandom& random, std::span<const size_t> excluded) {
  if (table_stale_) ChooseTable();
  const size_t picked = balancer_.Pick(loads_, random, excluded);
  return picked != kNone || excluded.empty() ? picked : PickEjected(random, excluded);
}

// All healthy endpoints are excluded. This is rare, so a scan suffices.
size_t EndpointPicker::PickEjected(FastRandom& random, std::span<const size_t> excluded) {
  if (usable_.count == healthy_.count) return kNone;
  std::vector<Balancer::Load> usable = loads_;
  for (size_t i = 0; i < usable.size(); ++i) usable[i].candidate = states_[i].usable;
  return Balancer(table_).Pick(usable, random, excluded);
}

void EndpointPicker::AddOwn(size_t i, int32_t change) {
  estimates_[i].AddOwn(change);
  loads_[i].in_flight = estimates_[i].InFlight(share_.scale());
}

void EndpointPicker::OnReport(size_t i, const ServerLoad& load, MonotonicTime now) {
  estimates_[i].OnReport(load, now);
  share_.OnReport(estimates_[i].own(), load.active);
  loads_[i].in_flight = estimates_[i].InFlight(share_.scale());
  if (now - refreshed_at_ >= kRefreshInterval) Refresh(now);
}

void EndpointPicker::ForgetReport(size_t i) {
  estimates_[i].Forget();
  loads_[i] = {.in_flight = estimates_[i].InFlight(share_.scale()),
               .hot = false,
               .candidate = loads_[i].candidate};
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
  const double scale = share_.scale();
  bool any_busy = false;
  for (size_t i = 0; i < loads_.size(); ++i) {
    loads_[i].in_flight = estimates_[i].InFlight(scale);
    loads_[i].hot = false;
    any_busy = any_busy || estimates_[i].busy();
  }
  if (!any_busy) return;
  scores_.clear();
  for (size_t i = 0; i < loads_.size(); ++i) {
    if (table_->weight(i) > 0) scores_.push_back(ScoreOf(i));
  }
  const double threshold = HotAbove(scores_);
  for (size_t i = 0; i < loads_.size(); ++i) {
    const bool counts = table_->weight(i) > 0 && estimates_[i].busy();
    loads_[i].hot = counts && ScoreOf(i) > threshold;
  }
}

}  // namespace trunkline
