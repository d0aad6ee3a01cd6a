// Writes a scenario as the text that ReadScenario reads. Expectations are left out. Pure.
#pragma once

#include <string>

#include "tests/sim/scenario.h"

namespace trunkline::sim {

std::string WriteScenario(const Scenario& scenario);
// One line, without its end.
std::string WriteAction(const Scenario& scenario, const Action& action);

}  // namespace trunkline::sim
