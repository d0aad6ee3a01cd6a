// Searches random scenarios for one in which a check of every run fails, and makes what it finds
// small: as few actions, servers and proxies as still show it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "tests/sim/scenario.h"

namespace trunkline::sim {

// Makes the random scenario of a seed.
Scenario RandomScenario(uint64_t seed);

// Returns true if the scenario shows what is searched for.
using Shows = std::function<bool(const Scenario& scenario)>;
// True for a scenario in which the checks of an adaptive run with this seed find a violation.
bool ViolatesChecks(const Scenario& scenario, uint64_t seed);

// Removes whatever can be removed so that `shows` stays true, which it is for `scenario`.
Scenario Shrink(Scenario scenario, const Shows& shows);

// Tries the scenarios of `count` seeds. Returns the first one that violates a check, shrunk.
std::optional<Scenario> Search(uint64_t first_seed, int count);

}  // namespace trunkline::sim
