#include "dataplane/route/least_loaded.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {
namespace {

// Puts a rank behind those with credit, and keeps the order among those without.
constexpr double kWithoutCredit = 1e100;
constexpr double kNotPicked = std::numeric_limits<double>::infinity();

}  // namespace

void LeastLoaded::SetEarnings(const AliasTable& table, std::span<const Balancer::Load> loads,
                              std::span<const size_t> excluded) {
  double total = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    if (Balancer::IsEligible(loads, excluded, i)) total += table.weight(i);
  }
  earnings_.fill(0);
  inverse_weights_.fill(kNotPicked);
  for (size_t i = 0; i < loads.size(); ++i) {
    if (table.weight(i) <= 0 || !Balancer::IsEligible(loads, excluded, i)) continue;
    const double p = table.weight(i) / total;
    earnings_[i] = p * (2 - p);
    inverse_weights_[i] = table.inverse_weight(i);
  }
  // The next pick has other exclusions.
  earnings_stale_ = !excluded.empty();
}

size_t LeastLoaded::Pick(const AliasTable& table, const Balancer& draws,
                         std::span<const Balancer::Load> loads, FastRandom& random,
                         std::span<const size_t> excluded, double margin) {
  const size_t drawn = draws.Draw(loads, random, excluded);
  if (drawn == Balancer::kNone) return Balancer::kNone;
  if (earnings_stale_ || !excluded.empty()) SetEarnings(table, loads, excluded);
  const size_t count = loads.size();
  // The lowest rank is picked. Scores are random, so a branch on one would often be predicted
  // wrong.
  std::array<double, kMostEndpoints> ranks;
  for (size_t i = 0; i < count; ++i) {
    const double credit = credits_[i] + earnings_[i];
    credits_[i] = credit < kBurst ? credit : kBurst;
    const double score = 1 + (loads[i].in_flight + margin) * inverse_weights_[i];
    ranks[i] = credits_[i] < 1 ? score * kWithoutCredit : score;
  }
  size_t best = drawn;
  double best_rank = ranks[drawn] - margin * inverse_weights_[drawn];
  // Begins at a random one of the others, because the first of equal ones is picked.
  size_t i = drawn + 1 + ((random.Next() >> 32) * (count - 1) >> 32);
  for (size_t left = count; left > 0; --left, ++i) {
    i = i < count ? i : i - count;
    const bool better = ranks[i] < best_rank;
    best = better ? i : best;
    best_rank = better ? ranks[i] : best_rank;
  }
  credits_[best] -= 1;
  return best;
}

}  // namespace trunkline
