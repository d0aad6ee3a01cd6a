// Formats the last hour of weights as one line of bars for each endpoint. Pure. Thread-safe; keeps
// no state.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trunkline/v1/weights.pb.h"

namespace trunkline {

// A number of the history that can be drawn.
enum class HistoryQuantity { kWeight, kUtilization, kErrors, kWait };

// Bars for values from 0 to `largest`, one character each; a dot for an unknown value.
std::string Bars(const std::vector<std::optional<double>>& values, double largest);

// The bars of a service's endpoints have one scale, from 0 to the largest value.
std::string RenderHistory(const v1::GetWeightHistoryResponse& history, HistoryQuantity quantity);

}  // namespace trunkline
