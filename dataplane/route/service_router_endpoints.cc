// The endpoints' side of ServiceRouter: lists and weights from the controller, and what carriers
// and connects say about each endpoint.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/inband/inband_report.h"
#include "common/net/address_list.h"
#include "common/observe/log.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/route/load_estimate.h"
#include "dataplane/route/service_router.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {
namespace {

// Endpoints that are joined per pass of the loop. Each may dial, which costs 20 us.
constexpr size_t kJoinsPerPass = 64;

void SetReportUnknown(EndpointCell& cell) {
  cell.server_active.Set(EndpointCell::kUnknown);
  cell.server_utilization.Set(EndpointCell::kUnknown);
}

std::shared_ptr<const AliasTable> WeightsOf(const EndpointSet& set) {
  return set.weights != nullptr ? set.weights : MakeWeights(set.endpoints);
}

std::shared_ptr<const MaglevTable> ClientTableOf(const EndpointSet& set) {
  const bool lacks = set.policy == BalancingPolicy::kMaglev && set.by_client == nullptr;
  return lacks ? MakeClientTable(set.endpoints) : set.by_client;
}

}  // namespace

void ServiceRouter::Update(std::shared_ptr<const EndpointSet> set) {
  const std::shared_ptr<const EndpointSet> old = std::exchange(set_, std::move(set));
  listener_cell_ = &set_->stats->cell(worker_.index);
  pending_share_.Set(0);
  pending_share_.BelongTo(&listener_cell_->pending);
  if (old != nullptr && SameLayout(*old, *set_)) {
    picker_.SetPolicy(set_->policy, ClientTableOf(*set_));
    picker_.SetWeights(WeightsOf(*set_), worker_.loop.now());
  } else {
    Rearrange(old);
  }
  ServePending();
}

// Both lists are sorted by id.
void ServiceRouter::Rearrange(const std::shared_ptr<const EndpointSet>& old) {
  ForgetRoom();
  States before = std::exchange(states_, {});
  states_.reserve(set_->endpoints.size());
  std::vector<size_t> kept(set_->endpoints.size(), EndpointPicker::kNone);
  std::vector<EndpointState*> moved;  // to another network address
  size_t next = 0;
  for (size_t i = 0; i < set_->endpoints.size(); ++i) {
    const Endpoint& endpoint = set_->endpoints[i];
    while (next < before.size() && old->endpoints[next].id < endpoint.id) {
      Depart(std::move(before[next++]), old);
    }
    std::unique_ptr<EndpointState> state;
    if (next < before.size() && old->endpoints[next].id == endpoint.id) {
      const Endpoint& previous = old->endpoints[next];
      if (previous.address == endpoint.address) {
        kept[i] = next;
        state = std::move(before[next]);
        if (!SameAddresses(previous.addresses, endpoint.addresses)) moved.push_back(state.get());
      } else {
        Depart(std::move(before[next]), old);
      }
      ++next;
    }
    if (state == nullptr) {
      state = std::make_unique<EndpointState>();
      state->set = &set_;
    }
    state->index = i;
    state->cell = &endpoint.stats->cell(worker_.index);
    states_.push_back(std::move(state));
  }
  while (next < before.size()) Depart(std::move(before[next++]), old);
  picker_.SetPolicy(set_->policy, ClientTableOf(*set_));
  picker_.SetEndpoints(kept, WeightsOf(*set_), worker_.loop.now());
  for (EndpointState* state : moved) {
    const AddressList& addresses = state->endpoint().addresses;
    if (state->carrier == nullptr || addresses == nullptr) continue;
    state->carrier->SetTarget(addresses);
    UpdateHealth(*state);
  }
  next_join_ = 0;
  JoinSome();
}

void ServiceRouter::JoinSome() {
  size_t left = kJoinsPerPass;
  for (; next_join_ < states_.size(); ++next_join_) {
    EndpointState& state = *states_[next_join_];
    if (state.carrier != nullptr) continue;
    if (left-- == 0) {
      worker_.loop.RequestFlush(this);
      return;
    }
    JoinEndpoint(state);
  }
  // Last, so that a carrier that another endpoint takes over keeps its connections.
  for (Carrier* carrier : std::exchange(departing_carriers_, {})) carrier->RemoveUser(this);
}

void ServiceRouter::JoinEndpoint(EndpointState& state) {
  Carrier& carrier = owner_.CarrierFor(*set_, state.endpoint());
  state.carrier = &carrier;
  state.next_of_carrier = std::exchange(by_carrier_[&carrier], &state);
  carrier.AddUser(this);
  if (state.endpoint().addresses != nullptr) carrier.SetTarget(state.endpoint().addresses);
  UpdateHealth(state);
  if (awaits_all_) carrier.Await();
}

void ServiceRouter::Depart(std::unique_ptr<EndpointState> state,
                           const std::shared_ptr<const EndpointSet>& old) {
  if (state->carrier != nullptr) {
    departing_carriers_.push_back(state->carrier);
    ForgetCarrier(*state);
  }
  SetFull(*state, false);
  std::erase(ejected_, state.get());
  state->ejection = {};
  state->cell->ejected.Set(0);
  SetReportUnknown(*state->cell);
  state->last_set = old;
  state->set = &state->last_set;
  if (state->active > 0) departed_.emplace(state.get(), std::move(state));
}

void ServiceRouter::ForgetCarrier(EndpointState& state) {
  const auto found = by_carrier_.find(state.carrier);
  TRUNKLINE_CHECK(found != by_carrier_.end(), "the router knows the carrier of its endpoint");
  EndpointState** link = &found->second;
  while (*link != &state) link = &(*link)->next_of_carrier;
  *link = state.next_of_carrier;
  if (found->second == nullptr) by_carrier_.erase(found);
  state.carrier = nullptr;
  state.next_of_carrier = nullptr;
}

template <typename Call>
void ServiceRouter::ForEachOf(const Carrier& carrier, Call call) {
  const auto found = by_carrier_.find(&carrier);
  EndpointState* state = found != by_carrier_.end() ? found->second : nullptr;
  for (; state != nullptr; state = state->next_of_carrier) call(*state);
}

void ServiceRouter::OnCarrierChanged(Carrier& carrier) {
  ForEachOf(carrier, [&](EndpointState& state) { UpdateHealth(state); });
  LogIfFull();
  OnCarrierRoom(carrier);
}

void ServiceRouter::OnCarrierRoom(Carrier& carrier) {
  if (pending() == 0) return;
  ForEachOf(carrier, [&](EndpointState& state) {
    if (!std::exchange(state.may_have_room, true)) with_room_.push_back(&state);
  });
  worker_.loop.RequestFlush(this);
}

void ServiceRouter::UpdateHealth(EndpointState& state) {
  const bool ejected = state.ejection.ejected || state.carrier->failing() ||
                       state.endpoint().stats->health.unhealthy();
  const bool full = state.carrier->full();
  picker_.Set(state.index, {.usable = state.carrier->usable(), .full = full, .ejected = ejected});
  state.cell->ejected.Set(ejected ? 1 : 0);
  SetFull(state, full);
}

void ServiceRouter::OnHealthChanged(const std::string& endpoint_id) {
  const auto found = std::ranges::lower_bound(set_->endpoints, endpoint_id, {}, &Endpoint::id);
  if (found == set_->endpoints.end() || found->id != endpoint_id) return;
  EndpointState& state = *states_[static_cast<size_t>(found - set_->endpoints.begin())];
  // JoinEndpoint reads the health of endpoints that have not joined yet.
  if (state.carrier != nullptr) OnCarrierChanged(*state.carrier);
}

void ServiceRouter::SetFull(EndpointState& state, bool full) {
  if (state.full == full) return;
  state.full = full;
  full_endpoints_ += full ? 1 : -1;
  state.cell->full.Add(full ? 1 : -1);
}

void ServiceRouter::Eject(EndpointState& state) {
  ejected_.push_back(&state);
  OnCarrierChanged(*state.carrier);
  LogWarn(
      "endpoint {} of service {} is ejected for {}: {} connects in a row were refused or not "
      "answered; check its server",
      state.endpoint().id, set_->service, absl::FormatDuration(ejection_.Duration(state.ejection)),
      OutlierEjection::kFailuresToEject);
  OnEjectionTimer();
}

// Readmits endpoints whose ejection is over, and waits for the next.
void ServiceRouter::OnEjectionTimer() {
  const MonotonicTime now = worker_.loop.now();
  MonotonicTime next = MonotonicTime::Infinite();
  std::erase_if(ejected_, [&](EndpointState* state) {
    if (!ejection_.End(state->ejection, now)) {
      next = std::min(next, state->ejection.until);
      return false;
    }
    OnCarrierChanged(*state->carrier);
    return true;
  });
  if (next != MonotonicTime::Infinite()) worker_.loop.Arm(ejection_timer_, next - now);
}

// Services with the same agent share its trunks and get each other's reports.
void ServiceRouter::OnInbandReport(Carrier& carrier, const InbandReport& report) {
  if (report.service != set_->service) return;
  ForEachOf(carrier, [&](EndpointState& state) {
    picker_.OnReport(state.index, report.load, worker_.loop.now());
    state.cell->server_active.Set(report.load.active);
    state.cell->server_utilization.Set(report.load.utilization == ServerLoad::kUnknown
                                           ? EndpointCell::kUnknown
                                           : report.load.utilization);
  });
  if (!stale_timer_.armed()) worker_.loop.Arm(stale_timer_, LoadEstimate::kFreshFor);
}

void ServiceRouter::OnLoadUnknown(Carrier& carrier) {
  ForEachOf(carrier, [&](EndpointState& state) {
    picker_.ForgetReport(state.index);
    SetReportUnknown(*state.cell);
  });
}

void ServiceRouter::OnStaleTimer() {
  const MonotonicTime now = worker_.loop.now();
  const MonotonicTime due =
      picker_.ForgetOld(now, [this](size_t i) { SetReportUnknown(*states_[i]->cell); });
  if (due != MonotonicTime::Infinite()) worker_.loop.Arm(stale_timer_, due - now);
}

}  // namespace trunkline
