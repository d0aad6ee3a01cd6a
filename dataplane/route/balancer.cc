#include "dataplane/route/balancer.h"

#include <cstddef>
#include <span>

#include "common/base/random.h"

namespace trunkline {
namespace {

// If candidates have half of the weight, one draw in 65,536 needs a scan.
constexpr int kMaxDraws = 16;

}  // namespace

size_t Balancer::Draw(std::span<const Load> loads, FastRandom& random,
                      std::span<const size_t> excluded) const {
  if (table_->empty()) return kNone;
  for (int draws = 0; draws < kMaxDraws; ++draws) {
    const size_t i = table_->Draw(random);
    if (IsEligible(loads, excluded, i)) return i;
  }
  return DrawByScan(loads, random, excluded);
}

// Has the probabilities of repeated draws, in O(n).
size_t Balancer::DrawByScan(std::span<const Load> loads, FastRandom& random,
                            std::span<const size_t> excluded) const {
  double total = 0;
  for (size_t i = 0; i < table_->size(); ++i) {
    if (IsEligible(loads, excluded, i)) total += table_->weight(i);
  }
  double rest = random.Uniform() * total;
  size_t last = kNone;
  for (size_t i = 0; i < table_->size(); ++i) {
    if (table_->weight(i) <= 0 || !IsEligible(loads, excluded, i)) continue;
    last = i;
    rest -= table_->weight(i);
    if (rest < 0) break;
  }
  return last;
}

size_t Balancer::Pick(std::span<const Load> loads, FastRandom& random,
                      std::span<const size_t> excluded) const {
  const size_t a = Draw(loads, random, excluded);
  if (a == kNone) return kNone;
  const size_t b = Draw(loads, random, excluded);
  return IsBetter(*table_, loads, b, a) ? b : a;
}

}  // namespace trunkline
