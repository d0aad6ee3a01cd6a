// Draws a run as SVG: utilization and share of the weight of each server, and p99, over time. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tests/sim/measures.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

// `result` has p99_by_second. Of more than kMaxDrawn servers, the first are drawn.
constexpr size_t kMaxDrawn = 10;
std::string DrawRun(const Scenario& scenario, std::string_view rule, const RunResult& result);

}  // namespace trunkline::sim
