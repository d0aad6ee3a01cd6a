// Formats one frame of `trunkctl top`: each endpoint with its load, its weight and why its weight
// is what it is, cut to a screen. Pure. Thread-safe; keeps no state.
#pragma once

#include <cstddef>
#include <string>

#include "trunkline/v1/weights.pb.h"

namespace trunkline {

enum class TopOrder { kUtilization, kWeight, kWait, kName };

struct TopFrame {
  std::string controller;
  TopOrder order = TopOrder::kUtilization;
  // Lines and characters of the screen; 0 if there is no limit.
  size_t lines = 0;
  size_t columns = 0;
  // Why the table is not of this moment; empty if it is.
  std::string trouble;
};

std::string RenderTop(const v1::WeightTable& table, const TopFrame& frame);

}  // namespace trunkline
