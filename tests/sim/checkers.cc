#include "tests/sim/checkers.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/weight_limiter.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"

namespace trunkline::sim {
namespace {

// Weights have three digits, so half a unit of the last one is up to half a percent.
constexpr double kRounding = 0.006;
// A view of a large cluster is expensive, so a few ticks in a row are checked every 10 s.
constexpr size_t kManyEndpoints = 500;

bool InService(const EndpointReason& reason) {
  return !reason.endpoint.draining && !reason.endpoint.pin && reason.proposed.reachable &&
         reason.weight > 0;
}

}  // namespace

void Checkers::Report(std::string text) {
  if (result_.violations.size() < kMaxListed) {
    result_.violations.push_back({queue_.now(), std::move(text)});
  } else {
    ++result_.violations_not_listed;
  }
}

void Checkers::OnTick(const ControlCore& core) {
  if (flows_.size() > kManyEndpoints && queue_.now() % (10 * kSecond) > kSecond) {
    // Moves are those from one tick to the next.
    return before_.clear();
  }
  Check(*core.View(queue_.monotonic()));
}

void Checkers::Check(const ControllerView& view) {
  for (const ServiceReason& service : view.services) {
    CheckBounds(service);
    CheckMoves(service);
  }
}

void Checkers::CheckBounds(const ServiceReason& service) {
  double sum = 0, shares = 0, weights = 0;
  size_t in_service = 0;
  for (const EndpointReason& reason : service.endpoints) {
    if (!std::isfinite(reason.weight) || reason.weight < 0) {
      Report(absl::StrFormat("bounds: the weight of %s is %g", reason.endpoint.key.endpoint_id,
                             reason.weight));
    }
    weights += reason.weight;
    shares += reason.share;
    if (!InService(reason)) continue;
    sum += reason.weight;
    ++in_service;
  }
  if (weights > 0 && std::abs(shares - 1) > kRounding) {
    Report(absl::StrFormat("shares: their sum is %.4f", shares));
  }
  if (in_service == 0 || service.load.frozen()) return;
  // Endpoints that come or go change the mean until the next tick, and bounding moves it a little.
  constexpr double kSlack = 1.25;
  const double mean = sum / static_cast<double>(in_service);
  for (const EndpointReason& reason : service.endpoints) {
    if (!InService(reason)) continue;
    const double ratio = reason.weight / mean;
    if (ratio * kSlack < WeightLimiter::kFloor || ratio > kSlack * WeightLimiter::kCeiling) {
      Report(absl::StrFormat("bounds: the weight of %s is %.4f of the mean",
                             reason.endpoint.key.endpoint_id, ratio));
    }
  }
}

// No raise of a stale endpoint; a hot or slower one gains no share. If an endpoint leaves the
// service or comes back, the shares of the others have to change.
void Checkers::CheckMoves(const ServiceReason& service) {
  double sum = 0;
  for (const EndpointReason& reason : service.endpoints)
    sum += InService(reason) ? reason.weight : 0;
  std::vector<Weight> now;
  for (const EndpointReason& reason : service.endpoints) {
    now.push_back({.endpoint_id = reason.endpoint.key.endpoint_id,
                   .weight = reason.weight,
                   .in_service = InService(reason),
                   .share = sum > 0 ? reason.weight / sum : 0});
  }
  const bool same = std::ranges::equal(now, before_, [](const Weight& a, const Weight& b) {
    return a.endpoint_id == b.endpoint_id && a.in_service == b.in_service;
  });
  for (size_t i = 0; same && i < now.size(); ++i) {
    if (now[i].in_service) CheckMove(service.endpoints[i], before_[i], now[i]);
  }
  before_ = std::move(now);
}

void Checkers::CheckMove(const EndpointReason& reason, const Weight& before, const Weight& now) {
  const bool stale = reason.endpoint.state == EndpointCondition::kStale;
  if (stale && now.weight > before.weight * (1 + kRounding)) {
    Report(absl::StrFormat("stale: the weight of %s rose from %g to %g", now.endpoint_id,
                           before.weight, now.weight));
  }
  const bool held = reason.load.hot || reason.load.slower;
  if (held && now.share > before.share * (1 + 2 * kRounding)) {
    Report(absl::StrFormat("sign rule: the share of %s rose from %.4f to %.4f while it was %s",
                           now.endpoint_id, before.share, now.share,
                           reason.load.hot ? "hot" : "slower"));
  }
}

void Checkers::CheckStarvation(const std::vector<bool>& well, const std::vector<double>& shares) {
  uint64_t all = 0;
  for (const Flows& flows : flows_) all += flows.now - flows.then;
  for (size_t i = 0; i < flows_.size(); ++i) {
    const uint64_t own = flows_[i].now - std::exchange(flows_[i].then, flows_[i].now);
    const double expected = shares[i] * static_cast<double>(all);
    if (!well[i] || own > 0 || expected < kMinExpected) continue;
    Report(
        absl::StrFormat("starvation: server %d got no flow in 30 s, where its weight promised "
                        "%.0f",
                        i, expected));
  }
}

}  // namespace trunkline::sim
