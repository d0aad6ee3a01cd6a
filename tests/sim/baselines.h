// The pick rules of other load balancers, and two that know everything. docs/simulator.md says
// which rule of which program each one is.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "tests/sim/pick_rule.h"

namespace trunkline::sim {

std::unique_ptr<PickRule> MakeBaseline(std::string_view name, size_t servers,
                                       const ClusterTruth& truth);

}  // namespace trunkline::sim
