// Reads a scenario from its text. docs/simulator.md describes the lines. Pure.
//
// Errors are INVALID_ARGUMENT and name the file, the line, what is wrong and what is expected.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {

// `file` names the text in errors; the scenario's name is its last part without ".txt".
absl::StatusOr<Scenario> ReadScenario(const std::string& file, std::string_view text);

// Reads a file. NOT_FOUND if it cannot be opened.
absl::StatusOr<Scenario> LoadScenario(const std::string& path);

}  // namespace trunkline::sim
