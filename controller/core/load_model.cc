#include "controller/core/load_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/traffic_window.h"
#include "controller/core/weighted_endpoint.h"

namespace trunkline {
namespace {

// Returns 0 for an empty list.
double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Returns the value that half of the weight does not exceed. `values` has (value, weight) pairs, at
// least one.
double WeightedMedian(std::vector<std::pair<double, double>> values) {
  std::sort(values.begin(), values.end());
  double half = 0;
  for (const auto& [value, weight] : values) half += weight / 2;
  for (const auto& [value, weight] : values) {
    half -= weight;
    if (half <= 0) return value;
  }
  return values.back().first;
}

bool IsFresh(const RegisteredEndpoint& endpoint) {
  return endpoint.state == EndpointCondition::kFresh && endpoint.load.has_value();
}

// An unknown utilization is no signal. Taken for 0, it would look like an idle server, and the
// weight would rise.
bool HasSignal(const RegisteredEndpoint& endpoint) {
  return IsFresh(endpoint) && endpoint.load->cpu_known;
}

bool IsSilent(const RegisteredEndpoint& endpoint) {
  return endpoint.state == EndpointCondition::kStale ||
         endpoint.state == EndpointCondition::kExpired;
}

}  // namespace

double Utilization(const ReportedLoad& load) {
  return std::max({load.cpu_utilization, load.connection_utilization.value_or(0),
                   load.nic_utilization.value_or(0), load.named_utilization});
}

double Work(const ReportedLoad& load) {
  return load.successes_per_second + load.bytes_per_second / kBytesPerStream;
}

double Work(const EndpointTraffic& traffic) {
  return traffic.served_per_second + traffic.bytes_per_second / kBytesPerStream;
}

std::string DescribeSuspect(const EndpointEstimate& load) {
  return absl::StrFormat(
      "the agent reports a utilization of %.2f for work that would utilize the server %.2f by what "
      "it costs the other endpoints; either the agent measures another program (check cgroup_path, "
      "pid_file and target in its configuration), or the server waits for something else than CPU",
      load.utilization, load.expected_utilization);
}

void LoadModel::Restore(const std::string& endpoint_id, double capacity, double theta,
                        bool learned) {
  Entry& entry = entries_.Insert(endpoint_id);
  entry.started = true;
  entry.estimate.capacity = std::clamp(capacity, kMinCapacity, kMaxCapacity);
  entry.estimate.capacity_source = CapacitySource::kStored;
  entry.estimate.theta = std::clamp(theta, -kMaxObservation, kMaxObservation);
  entry.estimate.learned = learned;
  entry.incarnation = 1;  // as the registry counts restored endpoints
}

void LoadModel::RestoreDeparted(const std::string& endpoint_id, double capacity) {
  if (departed_.size() < kMaxDeparted)
    departed_.emplace_back(endpoint_id, std::clamp(capacity, kMinCapacity, kMaxCapacity));
}

void LoadModel::Tick(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now) {
  FollowMembership(endpoints, now);
  waits_.Tick(endpoints, now);
  MeasureTraffic(endpoints);
  MeasureService(endpoints);
  Judge(endpoints, now);
  DecideFreeze(endpoints, now);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    Entry& entry = entries_[i];
    const absl::Duration dt = now - std::exchange(entry.decayed_at, now);
    if (service_.frozen()) continue;
    const bool no_signal = IsFresh(endpoint) && !endpoint.load->cpu_known;
    if (endpoint.state == EndpointCondition::kExpired || no_signal) {
      entry.estimate.theta *= std::exp2(-absl::FDivDuration(dt, kExpiredHalfLife));
    }
    if (HasSignal(endpoint) && entry.report_serial != endpoint.report_serial) {
      UseReport(endpoint, entry);
    }
  }
  if (!service_.frozen()) Normalise();
}

void LoadModel::FollowMembership(const std::vector<WeightedEndpoint>& endpoints,
                                 MonotonicTime now) {
  entries_.Follow(endpoints, [&](const std::string& id, const Entry& entry) {
    departed_.emplace_back(id, entry.estimate.capacity);
    if (departed_.size() > kMaxDeparted) departed_.pop_front();
  });

  StartCapacities(endpoints);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    Entry& entry = entries_[i];
    if (entry.decayed_at == MonotonicTime()) entry.decayed_at = now;
    FollowCores(endpoint, entry);
    if (entry.incarnation == endpoint.incarnation) continue;
    entry.incarnation = endpoint.incarnation;
    entry.estimate.theta = 0;
    entry.estimate.error_share = 0;
    entry.events = entry.errors = 0;
    entry.report_used_at.reset();
  }
}

// Keeps the learned capacity per core and drops theta, which was measured with the old cores. An
// operator's figure does not depend on cores.
void LoadModel::FollowCores(const RegisteredEndpoint& endpoint, Entry& entry) {
  if (endpoint.cores <= 0) return;
  const double before = std::exchange(entry.cores, endpoint.cores);
  const bool says_nothing = before <= 0 || before == endpoint.cores;
  if (says_nothing || entry.estimate.capacity_source == CapacitySource::kOperator) return;
  entry.estimate.capacity *= endpoint.cores / before;
  entry.estimate.theta = 0;
}

bool LoadModel::NeedsCapacity(const Entry& entry) {
  if (!entry.started) return true;
  // A guess gives way to the first figure of the operator or agent.
  return !entry.estimate.learned && entry.estimate.capacity_source == CapacitySource::kMedian;
}

LoadModel::CapacityUnits LoadModel::MeasureUnits(
    const std::vector<WeightedEndpoint>& endpoints) const {
  std::vector<double> per_operator_unit, per_core, capacities;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    if (NeedsCapacity(entries_[i])) continue;
    const double capacity = entries_[i].estimate.capacity;
    capacities.push_back(capacity);
    if (endpoint.operator_capacity > 0) {
      per_operator_unit.push_back(capacity / endpoint.operator_capacity);
    }
    if (endpoint.cores > 0) per_core.push_back(capacity / endpoint.cores);
  }
  return {Median(std::move(per_operator_unit)), Median(std::move(per_core)),
          Median(std::move(capacities))};
}

void LoadModel::StartCapacities(const std::vector<WeightedEndpoint>& endpoints) {
  if (std::ranges::none_of(entries_, NeedsCapacity)) return;
  CapacityUnits units = MeasureUnits(endpoints);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    Entry& entry = entries_[i];
    if (!NeedsCapacity(entry)) continue;
    entry.started = true;
    if (RecallDeparted(endpoint.key.endpoint_id, entry.estimate)) continue;
    StartCapacity(endpoint, units, entry.estimate);
  }
}

bool LoadModel::RecallDeparted(const std::string& endpoint_id, EndpointEstimate& estimate) {
  auto before = std::find_if(departed_.begin(), departed_.end(),
                             [&](const auto& gone) { return gone.first == endpoint_id; });
  if (before == departed_.end()) return false;
  estimate.capacity = before->second;
  estimate.capacity_source = CapacitySource::kStored;
  departed_.erase(before);
  return true;
}

void LoadModel::StartCapacity(const RegisteredEndpoint& endpoint, CapacityUnits& units,
                              EndpointEstimate& estimate) {
  // The first endpoint has capacity 1, whatever its unit; later ones are converted to its units.
  const bool first = units.median == 0;
  const bool by_operator = endpoint.operator_capacity > 0 && (first || units.per_operator_unit > 0);
  const bool by_cores = endpoint.cores > 0 && (first || units.per_core > 0);
  if (by_operator) {
    estimate.capacity = first ? 1 : endpoint.operator_capacity * units.per_operator_unit;
    estimate.capacity_source = CapacitySource::kOperator;
  } else if (by_cores) {
    estimate.capacity = first ? 1 : endpoint.cores * units.per_core;
    estimate.capacity_source = CapacitySource::kCores;
  } else {
    estimate.capacity = first ? 1 : units.median;
    estimate.capacity_source = CapacitySource::kMedian;
    return;
  }
  if (first) units.median = 1;
  if (units.per_operator_unit == 0 && endpoint.operator_capacity > 0) {
    units.per_operator_unit = estimate.capacity / endpoint.operator_capacity;
  }
  if (units.per_core == 0 && endpoint.cores > 0) {
    units.per_core = estimate.capacity / endpoint.cores;
  }
}

// A flow that ended after bytes of the client alone is a failure only where the service's other
// endpoints answer: some protocols have no answers.
void LoadModel::MeasureTraffic(const std::vector<WeightedEndpoint>& endpoints) {
  double served = 0, unanswered = 0;
  for (const WeightedEndpoint& weighted : endpoints) {
    if (!weighted.traffic.has_value()) continue;
    served += weighted.traffic->served_per_second;
    unanswered += weighted.traffic->unanswered_per_second;
  }
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    Entry& entry = entries_[i];
    EndpointEstimate& estimate = entry.estimate;
    estimate.traffic = endpoints[i].traffic;
    if (estimate.traffic.has_value()) {
      const EndpointTraffic& own = *estimate.traffic;
      const bool others_answer =
          served - own.served_per_second > unanswered - own.unanswered_per_second;
      estimate.work = Work(own);
      entry.outcomes = {own.served_per_second, own.errors_per_second};
      (others_answer ? entry.outcomes.errors : entry.outcomes.successes) +=
          own.unanswered_per_second;
      if (!others_answer) estimate.work += own.unanswered_per_second;
    } else if (endpoint.load.has_value()) {
      estimate.work = Work(*endpoint.load);
      entry.outcomes = {endpoint.load->successes_per_second, endpoint.load->errors_per_second};
    }
  }
}

// The sign rule: whatever the measured work says, an endpoint that is clearly hotter or slower than
// the others gains no share, so no error of measurement can run away.
void LoadModel::Judge(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now) {
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    Entry& entry = entries_[i];
    EndpointEstimate& estimate = entry.estimate;
    estimate.excess_wait = waits_.ExcessAt(i);
    estimate.faster = waits_.FasterAt(i);
    estimate.hot =
        HasSignal(endpoint) && estimate.utilization > service_.median_utilization + kHotMargin;
    estimate.slower = estimate.excess_wait.value_or(1) > WaitModel::kSlower;
    Suspect(HasSignal(endpoint), now, entry);
  }
}

void LoadModel::Suspect(bool has_signal, MonotonicTime now, Entry& entry) const {
  const double k = service_.work_per_capacity;
  const double expected = k > 0 ? entry.estimate.work / (entry.estimate.capacity * k) : 0;
  const bool contradicts = has_signal && entry.estimate.traffic.has_value() &&
                           entries_.size() >= kMinForMedian && expected >= kSuspectFrom &&
                           entry.estimate.utilization < kSuspectPart * expected;
  if (!contradicts) {
    entry.contradicted_since.reset();
  } else if (!entry.contradicted_since.has_value()) {
    entry.contradicted_since = now;
  }
  entry.estimate.suspect = contradicts && now - *entry.contradicted_since >= kSuspectAfter;
}

// With three endpoints or more, k and the utilization that the others are compared with are medians
// by weight: one agent that is wrong moves a mean, and with it the weights of all.
void LoadModel::MeasureService(const std::vector<WeightedEndpoint>& endpoints) {
  double work = 0, capacity_used = 0, weight = 0, weighted_utilization = 0;
  std::vector<std::pair<double, double>> work_per_capacity, utilizations;  // value, weight
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const WeightedEndpoint& weighted = endpoints[i];
    if (!HasSignal(*weighted.endpoint)) continue;
    EndpointEstimate& estimate = entries_[i].estimate;
    estimate.utilization = Utilization(*weighted.endpoint->load);
    const double used = estimate.capacity * estimate.utilization;
    work += estimate.work;
    capacity_used += used;
    weight += weighted.weight;
    weighted_utilization += weighted.weight * estimate.utilization;
    if (used > 0) work_per_capacity.emplace_back(estimate.work / used, used);
    utilizations.emplace_back(estimate.utilization, weighted.weight);
  }
  service_.work_per_capacity = capacity_used > 0 ? work / capacity_used : 0;
  service_.mean_utilization = weight > 0 ? weighted_utilization / weight : 0;
  service_.median_utilization = service_.mean_utilization;
  if (utilizations.size() < kMinForMedian) return;
  service_.median_utilization = WeightedMedian(std::move(utilizations));
  if (work_per_capacity.size() >= kMinForMedian) {
    service_.work_per_capacity = WeightedMedian(std::move(work_per_capacity));
  }
}

void LoadModel::DecideFreeze(const std::vector<WeightedEndpoint>& endpoints, MonotonicTime now) {
  const absl::Duration expiry = report_interval_ * EndpointRegistry::kExpiredIntervals;
  double all = 0, silent = 0;
  bool restored = false;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const RegisteredEndpoint& endpoint = *endpoints[i].endpoint;
    if (endpoint.draining || endpoint.state == EndpointCondition::kExpected) continue;
    const double capacity = entries_[i].estimate.capacity;
    const bool is_silent = IsSilent(endpoint);
    const bool may_return_soon = endpoint.restored || endpoint.stream_closed;
    const absl::Duration patience = expiry + (may_return_soon ? kReturnGrace : kFreezeAtMost);
    if (is_silent && now - endpoint.reported_at > patience) continue;
    all += capacity;
    if (!is_silent) continue;
    silent += capacity;
    restored |= endpoint.restored;
  }
  service_.freeze_reason.clear();
  if (silent <= all / 2) return;
  const double percent = 100 * silent / all;
  service_.freeze_reason =
      restored ? absl::StrFormat(
                     "weights frozen since the controller's restart: %.0f %% of the capacity has "
                     "not reported yet",
                     percent)
               : absl::StrFormat(
                     "weights frozen: %.0f %% of the capacity has not reported for %d intervals, "
                     "which suggests a fault between the agents and the controller",
                     percent, EndpointRegistry::kStaleIntervals);
}

void LoadModel::UseReport(const RegisteredEndpoint& endpoint, Entry& entry) {
  // A report covers the time since the previous one, but not a silence.
  const absl::Duration dt = entry.report_used_at.has_value()
                                ? std::min(endpoint.reported_at - *entry.report_used_at,
                                           report_interval_ * EndpointRegistry::kStaleIntervals)
                                : report_interval_;
  entry.report_serial = endpoint.report_serial;
  entry.report_used_at = endpoint.reported_at;
  CountErrors(dt, endpoint.reported_at, entry);
  Observe(dt, endpoint.reported_at, entry);
}

void LoadModel::CountErrors(absl::Duration dt, MonotonicTime now, Entry& entry) {
  const double seconds = absl::ToDoubleSeconds(dt);
  if (now - entry.errors_counted_at > kErrorMemory) {
    entry.estimate.error_share = 0;
    entry.events = entry.errors = 0;
    entry.errors_counted_at = now;
  }
  entry.events += (entry.outcomes.successes + entry.outcomes.errors) * seconds;
  entry.errors += entry.outcomes.errors * seconds;
  if (entry.events < kMinErrorEvents) return;
  entry.estimate.error_share = entry.errors / entry.events;
  entry.events = entry.errors = 0;
  entry.errors_counted_at = now;
}

void LoadModel::Observe(absl::Duration dt, MonotonicTime now, Entry& entry) {
  EndpointEstimate& estimate = entry.estimate;
  estimate.effective_utilization = estimate.utilization + estimate.error_share;
  const double k = service_.work_per_capacity;
  // Without traffic there is no signal, so expected equals observed.
  estimate.expected_utilization =
      k > 0 ? estimate.work / (estimate.capacity * k) : estimate.effective_utilization;
  estimate.observed = std::clamp(std::log((estimate.expected_utilization + kNoiseUtilization) /
                                          (estimate.effective_utilization + kNoiseUtilization)),
                                 -kMaxObservation, kMaxObservation);
  Agree(now, entry);
  const double alpha = std::min(kMaxAlpha, -std::expm1(-absl::FDivDuration(dt, kSmoothing)));
  const double step = alpha * (estimate.observed - estimate.theta);
  if (std::abs(step) >= kDeadband) estimate.theta += std::clamp(step, kMaxFall, MaxRise(dt, entry));
  if (estimate.utilization <= kLearnAbove) return;
  estimate.learned = true;
  if (std::abs(estimate.theta) < kLearnFrom) return;
  const double moved = estimate.theta * -std::expm1(-kLearnPerSecond * absl::ToDoubleSeconds(dt));
  estimate.theta -= moved;
  estimate.capacity = std::clamp(estimate.capacity * std::exp(moved), kMinCapacity, kMaxCapacity);
}

// Agents say how busy a server is, proxies how long it takes. Either of them can lower a weight;
// above P, both have to agree.
void LoadModel::Agree(MonotonicTime now, Entry& entry) {
  EndpointEstimate& estimate = entry.estimate;
  // An agent that sees the load measures it better: the wait is that of a while ago.
  const double excess = estimate.excess_wait.value_or(1);
  if (excess > WaitModel::kSlow && !estimate.hot) {
    const double less = estimate.theta + std::log(WaitModel::kSlow / excess);
    estimate.observed = std::min(estimate.observed, std::max(less, kLowest));
  }
  NoteWait(now, entry);
  if (!estimate.faster.value_or(true)) estimate.observed = std::min(estimate.observed, 0.0);
}

void LoadModel::NoteWait(MonotonicTime now, Entry& entry) {
  if (entry.slow_at.has_value() && now - *entry.slow_at >= kRecovery) {
    entry.slow_at.reset();
    entry.relapsed = false;
  }
  const std::optional<double> excess = entry.estimate.excess_wait;
  if (excess.value_or(0) > WaitModel::kSlow && !entry.estimate.hot) {
    const bool recovered = entry.well_since.has_value() && now - *entry.well_since >= kRecovered;
    if (entry.slow_at.has_value() && recovered) entry.relapsed = true;
    entry.slow_at = now;
    entry.well_since.reset();
  } else if (!excess.has_value()) {
    entry.well_since.reset();
  } else if (!entry.well_since.has_value()) {
    entry.well_since = now;
  }
}

double LoadModel::MaxRise(absl::Duration dt, const Entry& entry) {
  if (entry.estimate.hot || entry.estimate.slower) return 0;
  if (!entry.slow_at.has_value()) return kMaxRise;
  const double rise = entry.relapsed ? kSlowRecoveryRise : kRecoveryRise;
  return std::min(kMaxRise, rise * absl::ToDoubleSeconds(dt));
}

void LoadModel::Normalise() {
  double sum = 0;
  for (const Entry& entry : entries_) sum += entry.estimate.capacity;
  if (sum <= 0) return;
  const double mean = sum / static_cast<double>(entries_.size());
  for (Entry& entry : entries_) {
    entry.estimate.capacity =
        std::clamp(entry.estimate.capacity / mean, kMinCapacity, kMaxCapacity);
  }
  // Endpoints that left keep their ratio to those that stay.
  for (auto& [id, capacity] : departed_) {
    capacity = std::clamp(capacity / mean, kMinCapacity, kMaxCapacity);
  }
}

}  // namespace trunkline
