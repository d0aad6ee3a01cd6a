// Runs a scenario under several pick rules with several seeds. All rules get the same requests for
// the same seed (common random numbers).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/measures.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

struct RuleOutcome {
  std::string rule;
  uint64_t requests = 0;
  uint64_t misses = 0;
  uint64_t failures = 0;
  LatencyCounts latencies;
  std::vector<Figures> figures;  // by seed
  std::vector<std::string> violations;
  uint64_t violations_not_listed = 0;
  uint64_t events = 0;

  double miss_share() const {
    return requests > 0 ? static_cast<double>(misses) / static_cast<double>(requests) : 0;
  }
  // Over the seeds.
  double Median(double Figures::*figure) const;
  double Worst(double Figures::*figure) const;
};

struct Outcome {
  std::vector<RuleOutcome> rules;
  const RuleOutcome* Find(std::string_view rule) const;
};

Outcome RunExperiment(const Scenario& scenario, const std::vector<std::string>& rules,
                      uint64_t first_seed, int seeds);

// Adds the rules that the scenario's expectations need and `rules` lacks.
std::vector<std::string> WithNeededRules(const Scenario& scenario, std::vector<std::string> rules);

struct Verdict {
  bool kept = false;
  std::string text;  // the expectation and the figure that was measured
};
// Needs the rules of WithNeededRules. The last verdict is about the checks that every run makes.
std::vector<Verdict> Verify(const Scenario& scenario, const Outcome& outcome);

}  // namespace trunkline::sim
