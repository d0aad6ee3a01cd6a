#include "dataplane/route/rotation.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {

void Rotation::Reset(const AliasTable& table, FastRandom& random) {
  turns_.clear();
  for (uint32_t i = 0; i < table.size(); ++i) {
    if (table.weight(i) <= 0) continue;
    turns_.push_back({.due = random.Uniform() * table.inverse_weight(i), .endpoint = i});
  }
  std::make_heap(turns_.begin(), turns_.end());
  skipped_.clear();
  skipped_.reserve(turns_.size());
}

void Rotation::Push(Turn turn) {
  turns_.push_back(turn);
  std::push_heap(turns_.begin(), turns_.end());
}

size_t Rotation::Next(const AliasTable& table, std::span<const Balancer::Load> loads,
                      std::span<const size_t> excluded) {
  size_t picked = Balancer::kNone;
  while (!turns_.empty() && picked == Balancer::kNone) {
    std::pop_heap(turns_.begin(), turns_.end());
    Turn turn = turns_.back();
    turns_.pop_back();
    const bool candidate = loads[turn.endpoint].candidate;
    const bool eligible = Balancer::IsEligible(loads, excluded, turn.endpoint);
    if (eligible) picked = turn.endpoint;
    if (eligible || !candidate) turn.due += table.inverse_weight(turn.endpoint);
    skipped_.push_back(turn);
  }
  for (const Turn& turn : skipped_) Push(turn);
  skipped_.clear();
  return picked;
}

}  // namespace trunkline
