// Turns the proposed weights of one service into accepted ones: bounded, normalised and free of
// noise.
//
// A proposal may be wrong in ways that no model detects, such as a broken sensor or a unit mistake.
// So no endpoint gets less than 1/50 of the mean, which keeps it observable, nor more than 10 times
// the mean. Accepted weights have mean 1 over the endpoints in normal service; a stale endpoint
// does not rise, and the others share its gain. Rounding to three digits and the publish rule keep
// noise from the proxies.
//
// Pure; one object per service; externally synchronized (by the control loop). Has no errors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/weight_policy.h"

namespace trunkline {

class WeightLimiter {
 public:
  // Multiples of the mean.
  static constexpr double kFloor = 0.02;
  static constexpr double kCeiling = 10;
  static_assert(0 < kFloor && kFloor < 1 && 1 < kCeiling);
  // A change of any weight by more than this ratio is published at once ...
  static constexpr double kPublishRatio = 0.02;
  // ... and any other change within this time.
  static constexpr absl::Duration kPublishInterval = absl::Seconds(1);

  // Sets an accepted weight from the state file; call before the first Tick.
  void Restore(const std::string& endpoint_id, double weight);

  // Returns true if accepted() changed. `frozen` keeps the existing weights of endpoints in normal
  // service; administrative states, unreachable servers and new endpoints still take effect.
  bool Tick(const std::vector<ProposedWeight>& proposed, bool frozen, MonotonicTime now);

  const std::map<std::string, double>& accepted() const { return accepted_; }
  double accepted(const std::string& endpoint_id) const {
    auto found = accepted_.find(endpoint_id);
    return found == accepted_.end() ? 0 : found->second;
  }
  // Mean of the proposals of the endpoints in normal service, for `explain`; 0 if there are none.
  double mean_proposed() const { return mean_proposed_; }

  static double Quantise(double weight);

 private:
  // The rule that decides an endpoint's weight; a change of it is published at once.
  enum class Standing { kNormal, kUnreachable, kDraining, kPinned };
  static Standing StandingOf(const ProposedWeight& proposed);

  std::map<std::string, double> Normalise(const std::vector<ProposedWeight>& proposed);
  void CapStale(const std::vector<ProposedWeight>& proposed,
                std::map<std::string, double>& weights) const;
  void HoldFrozen(const std::vector<ProposedWeight>& proposed,
                  std::map<std::string, double>& weights) const;
  bool MovedMuch(const std::map<std::string, double>& weights) const;

  std::map<std::string, double> accepted_;
  std::map<std::string, Standing> standings_;
  double mean_proposed_ = 0;
  MonotonicTime accepted_at_;
};

}  // namespace trunkline
