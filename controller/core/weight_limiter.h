// Turns the proposed weights of one service into accepted ones: bounded, normalised and free of
// noise.
//
// A proposal may be wrong in ways that no model detects, such as a broken sensor or a unit mistake.
// So no endpoint gets less than 1/50 of the mean, which keeps it observable, nor more than 10 times
// the mean. Accepted weights have mean 1 over the endpoints in normal service; a stale endpoint
// does not rise, and the others share its gain. Rounding to three digits and the publish rules keep
// noise from the proxies; a weight that did not move far enough keeps its published value exactly,
// so that a change is sent for the endpoints alone that it concerns.
//
// Pure; one object per service; externally synchronized (by the control loop). Has no errors.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/weight_policy.h"

namespace trunkline {

class WeightLimiter {
 public:
  // Multiples of the mean.
  static constexpr double kFloor = 0.02;
  static constexpr double kCeiling = 10;
  static_assert(0 < kFloor && kFloor < 1 && 1 < kCeiling);
  // A weight that changed by more than this ratio is published at once ...
  static constexpr double kPublishRatio = 0.02;
  // ... one that changed by more than this within kPublishInterval, and a smaller change not at
  // all: in thousands of flows, no client notices a hundredth of an endpoint's share.
  static constexpr double kNoticeRatio = 0.01;
  static constexpr absl::Duration kPublishInterval = absl::Seconds(1);

  // Sets an accepted weight from the state file; call before the first Tick.
  void Restore(const std::string& endpoint_id, double weight);

  // Returns true if an accepted weight changed. `frozen` keeps the existing weights of endpoints in
  // normal service; administrative states, unreachable servers and new endpoints still take effect.
  bool Tick(const std::vector<ProposedWeight>& proposed, bool frozen, MonotonicTime now);

  // The published weight; 0 for an endpoint that was not in the last Tick.
  double accepted(const std::string& endpoint_id) const {
    auto found = accepted_.find(endpoint_id);
    return found == accepted_.end() ? 0 : found->second.weight;
  }
  // Returns true if the endpoint was in the last Tick, or restored.
  bool knows(const std::string& endpoint_id) const { return accepted_.contains(endpoint_id); }
  size_t size() const { return accepted_.size(); }
  // Mean of the proposals of the endpoints in normal service, for `explain`; 0 if there are none.
  double mean_proposed() const { return mean_proposed_; }

  static double Quantise(double weight);

 private:
  // The rule that decides an endpoint's weight; a change of it is published at once.
  enum class Standing { kNormal, kUnreachable, kDraining, kPinned };
  static Standing StandingOf(const ProposedWeight& proposed);
  struct Accepted {
    double weight = 0;
    Standing standing = Standing::kNormal;
    friend bool operator==(const Accepted&, const Accepted&) = default;
  };
  // In the order of the proposals; null for an endpoint that has none yet.
  using Last = std::vector<const Accepted*>;

  // The weights of the endpoints in normal service, in the order of the proposals; 0 for others.
  std::vector<double> Normalise(const std::vector<ProposedWeight>& proposed);
  static void CapStale(const std::vector<ProposedWeight>& proposed, const Last& last,
                       std::vector<double>& weights);
  static void HoldFrozen(const std::vector<ProposedWeight>& proposed, const Last& last,
                         std::vector<double>& weights);
  // Returns true if `weight` differs from the accepted one by more than `ratio`.
  static bool MovedMoreThan(double ratio, const Accepted* last, double weight);
  void Accept(const std::vector<ProposedWeight>& proposed, const std::vector<Accepted>& next);

  absl::flat_hash_map<std::string, Accepted> accepted_;
  double mean_proposed_ = 0;
  // When changes of kPublishRatio and less were last published.
  MonotonicTime small_published_at_;
};

}  // namespace trunkline
