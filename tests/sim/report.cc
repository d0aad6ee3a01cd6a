#include "tests/sim/report.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/experiment.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

constexpr size_t kMaxViolations = 10;

std::string Milliseconds(double seconds) {
  const int digits = seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0;
  return absl::StrFormat("%.*f", digits, 1000 * seconds);
}

std::string Row(const Scenario& scenario, const RuleOutcome& rule) {
  std::string row = absl::StrFormat(
      "  %-19s%8s%8s%8s%9.3f%%%9.3f%%%8.3f%8.3f%9s%8.3f%7.0f", rule.rule,
      Milliseconds(rule.latencies.Quantile(0.5)), Milliseconds(rule.latencies.Quantile(0.99)),
      Milliseconds(rule.latencies.Quantile(0.999)), 100 * rule.miss_share(),
      rule.requests > 0
          ? 100 * static_cast<double>(rule.failures) / static_cast<double>(rule.requests)
          : 0,
      rule.Median(&Figures::imbalance), rule.Worst(&Figures::imbalance),
      IsAdaptive(rule.rule) ? absl::StrFormat("%.3f", rule.Worst(&Figures::weight_error)) : "-",
      rule.Worst(&Figures::swing), rule.Worst(&Figures::settle));
  if (scenario.watched) absl::StrAppendFormat(&row, "%8.3f", rule.Median(&Figures::share));
  return absl::StrCat(row, "\n");
}

}  // namespace

std::string DescribeOutcome(const Scenario& scenario, const Outcome& outcome) {
  std::string text = absl::StrFormat(
      "%s: %s\n  %-19s%8s%8s%8s%10s%10s%8s%8s%9s%8s%7s%s\n", scenario.name, scenario.purpose,
      "rule", "p50 ms", "p99", "p99.9", "misses", "failed", "max/avg", "worst", "weights", "swing",
      "settle",
      scenario.watched
          ? absl::StrFormat("%8s", absl::StrCat("to ", scenario.servers[*scenario.watched].name))
          : "");
  for (const RuleOutcome& rule : outcome.rules) text += Row(scenario, rule);
  for (const RuleOutcome& rule : outcome.rules) {
    const size_t shown = std::min(kMaxViolations, rule.violations.size());
    for (size_t i = 0; i < shown; ++i) {
      absl::StrAppend(&text, "  violation  ", rule.violations[i], "\n");
    }
    const size_t more = rule.violations.size() - shown + rule.violations_not_listed;
    if (more > 0) absl::StrAppend(&text, "  violation  ... and ", more, " more\n");
  }
  return text;
}

std::string DescribeVerdicts(const std::vector<Verdict>& verdicts) {
  std::string text;
  for (const Verdict& verdict : verdicts) {
    absl::StrAppend(&text, verdict.kept ? "  ok      " : "  MISSED  ", verdict.text, "\n");
  }
  return text;
}

}  // namespace trunkline::sim
