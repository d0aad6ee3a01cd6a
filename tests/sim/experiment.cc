#include "tests/sim/experiment.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/cluster.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

// Fewer misses than this are luck, so a rule that has none allows as many.
constexpr double kLeastMissShare = 0.0005;

void Merge(const RunResult& run, const Figures& figures, uint64_t seed, RuleOutcome& outcome) {
  outcome.requests += run.requests;
  outcome.misses += run.misses;
  outcome.failures += run.failures;
  outcome.latencies.Merge(run.latencies);
  outcome.figures.push_back(figures);
  outcome.events += run.events;
  outcome.violations_not_listed += run.violations_not_listed;
  for (const Violation& violation : run.violations) {
    outcome.violations.push_back(
        absl::StrFormat("seed %d, %.1f s: %s", seed, Seconds(violation.at), violation.text));
  }
}

std::vector<double> Values(const std::vector<Figures>& figures, double Figures::*figure) {
  std::vector<double> values;
  for (const Figures& one : figures) values.push_back(one.*figure);
  std::ranges::sort(values);
  return values;
}

struct Measured {
  double value = 0;
  double bound = 0;
};

Measured MeasureOf(const Expectation& expectation, const RuleOutcome& own,
                   const RuleOutcome* other) {
  constexpr double kP99 = 0.99;
  switch (expectation.measure) {
    case Measure::kImbalance:
      return {own.Worst(&Figures::imbalance), expectation.factor};
    case Measure::kWeights:
      return {own.Worst(&Figures::weight_error), expectation.factor};
    case Measure::kSwing:
      return {own.Worst(&Figures::swing), expectation.factor};
    case Measure::kSettle:
      return {own.Worst(&Figures::settle), expectation.factor};
    case Measure::kShare:
      return {own.Worst(&Figures::share), expectation.factor};
    case Measure::kMisses:
      return {own.miss_share(),
              expectation.factor * std::max(kLeastMissShare, other->miss_share())};
    case Measure::kP99:
      return {own.latencies.Quantile(kP99), expectation.factor * other->latencies.Quantile(kP99)};
  }
  return {};
}

}  // namespace

double RuleOutcome::Median(double Figures::*figure) const {
  const std::vector<double> values = Values(figures, figure);
  return values.empty() ? 0 : values[values.size() / 2];
}

double RuleOutcome::Worst(double Figures::*figure) const {
  const std::vector<double> values = Values(figures, figure);
  return values.empty() ? 0 : values.back();
}

const RuleOutcome* Outcome::Find(std::string_view rule) const {
  const auto found = std::ranges::find(rules, rule, &RuleOutcome::rule);
  return found == rules.end() ? nullptr : &*found;
}

Outcome RunExperiment(const Scenario& scenario, const std::vector<std::string>& rules,
                      uint64_t first_seed, int seeds) {
  Outcome outcome;
  for (const std::string& rule : rules) {
    RuleOutcome& one = outcome.rules.emplace_back();
    one.rule = rule;
    for (uint64_t seed = first_seed; seed < first_seed + static_cast<uint64_t>(seeds); ++seed) {
      const RunResult run = Cluster(scenario, {.rule = rule, .seed = seed}).Run();
      const Figures figures = Evaluate(scenario, run);
      Merge(run, figures, seed, one);
    }
  }
  return outcome;
}

std::vector<std::string> WithNeededRules(const Scenario& scenario, std::vector<std::string> rules) {
  const auto add = [&](std::string_view rule) {
    if (std::ranges::find(rules, rule) == rules.end()) rules.emplace_back(rule);
  };
  add(kAdaptive);
  for (const Expectation& expectation : scenario.expectations) {
    if (!expectation.than.empty()) add(expectation.than);
  }
  return rules;
}

std::vector<Verdict> Verify(const Scenario& scenario, const Outcome& outcome) {
  std::vector<Verdict> verdicts;
  const RuleOutcome& own = *outcome.Find(kAdaptive);
  for (const Expectation& expectation : scenario.expectations) {
    const Measured measured = MeasureOf(expectation, own, outcome.Find(expectation.than));
    const bool shares = expectation.measure == Measure::kMisses;
    Verdict& verdict = verdicts.emplace_back();
    verdict.kept = measured.value <= measured.bound;
    verdict.text =
        absl::StrCat(expectation.text, ": ",
                     shares ? absl::StrFormat("%.3f%% of at most %.3f%%", 100 * measured.value,
                                              100 * measured.bound)
                     : expectation.than.empty()
                         ? absl::StrFormat("%.3f", measured.value)
                         : absl::StrFormat("%.3f of at most %.3f", measured.value, measured.bound));
  }
  const uint64_t found = own.violations.size() + own.violations_not_listed;
  verdicts.push_back({found == 0, absl::StrCat("checks of every run: ", found, " violations")});
  return verdicts;
}

}  // namespace trunkline::sim
