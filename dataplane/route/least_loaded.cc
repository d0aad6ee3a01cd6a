#include "dataplane/route/least_loaded.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

// Factors that put a rank behind all without them. They keep the order among those that have them.
constexpr double kHot = 1e50;
constexpr double kWithoutCredit = 1e100;
constexpr double kNotPicked = std::numeric_limits<double>::infinity();

}  // namespace

void LeastLoaded::SetEarnings(const AliasTable& table, std::span<const Balancer::Load> loads,
                              std::span<const size_t> excluded) {
  double total = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    if (Balancer::IsEligible(loads, excluded, i)) total += table.weight(i);
  }
  earnings_.assign(loads.size(), 0);
  for (size_t i = 0; i < loads.size(); ++i) {
    if (table.weight(i) <= 0 || !Balancer::IsEligible(loads, excluded, i)) continue;
    const double p = table.weight(i) / total;
    earnings_[i] = p * (2 - p);
  }
  // The next pick has other exclusions.
  earnings_stale_ = !excluded.empty();
}

// The lowest rank is picked.
double LeastLoaded::Rank(const AliasTable& table, std::span<const Balancer::Load> loads,
                         size_t i) const {
  const double score = 1 + loads[i].in_flight * table.inverse_weight(i);
  const double rank = score * (loads[i].hot ? kHot : 1) * (credits_[i] < 1 ? kWithoutCredit : 1);
  return earnings_[i] > 0 ? rank : kNotPicked;
}

size_t LeastLoaded::Pick(const AliasTable& table, const Balancer& draws,
                         std::span<const Balancer::Load> loads, FastRandom& random,
                         std::span<const size_t> excluded) {
  const size_t drawn = draws.Draw(loads, random, excluded);
  if (drawn == Balancer::kNone) return Balancer::kNone;
  if (earnings_stale_ || !excluded.empty()) SetEarnings(table, loads, excluded);
  // The scores are random, so branches on them would often be predicted wrong; the compiler makes
  // this loop one of conditional moves.
  size_t best = drawn;
  double best_rank = Rank(table, loads, drawn);
  for (size_t i = 0; i < loads.size(); ++i) {
    credits_[i] = std::min(kBurst, credits_[i] + earnings_[i]);
    const double rank = Rank(table, loads, i);
    const bool better = rank < best_rank;
    best = better ? i : best;
    best_rank = better ? rank : best_rank;
  }
  credits_[best] -= 1;
  return best;
}

}  // namespace trunkline
