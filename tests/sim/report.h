// Prints outcomes as text. Pure.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/experiment.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

// A heading, a row for each rule, and the violations that the checks of every run found.
std::string DescribeOutcome(const Scenario& scenario, const Outcome& outcome);
// A line for each verdict.
std::string DescribeVerdicts(const std::vector<Verdict>& verdicts);

}  // namespace trunkline::sim
