#include "dataplane/memory/memory_rule.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace trunkline {
namespace {

// Turns on at `on`, turns off below `off`, and keeps its state in between.
bool Hysteresis(bool was, double value, double on, double off) {
  return was ? value >= off : value >= on;
}

}  // namespace

void MemoryLevel::OnReading(const MemoryReading& reading) {
  const double fullness = reading.fullness();
  growth_stopped_ = Hysteresis(growth_stopped_, fullness, kGrowthStops, kGrowthResumes);
  shedding_ = Hysteresis(shedding_, fullness, kShedAbove, kShedTo);
  accept_stopped_ = Hysteresis(accept_stopped_, fullness, kAcceptStops, kAcceptResumes);
  const auto budget = static_cast<double>(reading.budget_bytes);
  const auto target = static_cast<int64_t>(budget * kShedTo);
  bytes_to_shed_ = shedding_ ? std::max<int64_t>(1, reading.used_bytes - target) : 0;
  headroom_bytes_ =
      std::max<int64_t>(0, static_cast<int64_t>(budget * kShedAbove) - reading.used_bytes);
}

std::vector<size_t> ChooseToShed(std::span<const Holding> holdings, int64_t bytes_to_shed,
                                 bool urgent) {
  const auto stalled = [&](size_t i) { return holdings[i].age >= kStalledAfter; };
  int64_t all_bytes = 0;
  for (const Holding& holding : holdings) all_bytes += static_cast<int64_t>(holding.bytes);
  const bool readers_too = urgent && all_bytes >= bytes_to_shed;
  std::vector<size_t> order;
  for (size_t i = 0; i < holdings.size(); ++i) {
    if (holdings[i].bytes >= kLeastShedBytes && (readers_too || stalled(i))) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::make_tuple(stalled(a), holdings[a].bytes, holdings[a].age) >
           std::make_tuple(stalled(b), holdings[b].bytes, holdings[b].age);
  });
  size_t count = 0;
  for (int64_t left = bytes_to_shed; count < order.size() && left > 0; ++count) {
    left -= static_cast<int64_t>(holdings[order[count]].bytes);
  }
  order.resize(count);
  return order;
}

}  // namespace trunkline
