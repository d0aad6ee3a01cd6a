// From proposed to accepted weights of one service: bounded, comparable, calm.
//
// A proposal may be wrong in ways that no model sees (a lying sensor, a unit mistake), so no
// endpoint gets less than 1/50 of the mean, which keeps it observable, nor more than 10 times the
// mean. The accepted weights of endpoints that take part have mean 1; a stale one is never raised,
// and the others take what it would have gained. Quantising to three digits and the publish rule
// keep proxies from being told about noise.
//
// It knows no load and no time constants of it. Pure; one object a service; externally synchronized
// (the control loop). Cannot fail.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "controller/core/weight_policy.h"

namespace trunkline {

class WeightLimiter {
 public:
  // Times the mean.
  static constexpr double kFloor = 0.02;
  static constexpr double kCeiling = 10;
  // A change of some weight by more than this goes out at once ...
  static constexpr double kPublishRatio = 0.02;
  // ... and any other within this.
  static constexpr absl::Duration kPublishInterval = absl::Seconds(1);

  // What is accepted before the first Tick: weights of the state file.
  void Restore(const std::string& endpoint_id, double weight);

  // True: accepted() is not what it was. `frozen` keeps the weights of everyone who has one;
  // administrative states, unreachable servers and newcomers count all the same.
  bool Tick(const std::vector<ProposedWeight>& proposed, bool frozen, MonotonicTime now);

  const std::map<std::string, double>& accepted() const { return accepted_; }
  double accepted(const std::string& endpoint_id) const {
    auto found = accepted_.find(endpoint_id);
    return found == accepted_.end() ? 0 : found->second;
  }
  // The mean of the values proposed by those that take part, for `explain`; 0: none takes part.
  double mean_proposed() const { return mean_proposed_; }

  static double Quantise(double weight);

 private:
  // How an endpoint's weight comes about; a change of it is published at once.
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
