// Maps hashes of client addresses to endpoints, so that all proxies send a client to the same one.
//
// Each endpoint prefers the slots of the table in an order of its own, which follows from its id,
// and endpoints take free slots in turn, in proportion to their weights. If one leaves, its slots
// go to the others and few of the rest change hands. Proxies with the same endpoints and weights
// make equal tables, whatever their build or machine.
//
// Built once per set of weights, outside the workers' loops, and shared by all workers. Immutable
// and thread-safe.
// Eisenbud et al., "Maglev: A fast and reliable software network load balancer", NSDI 2016, 3.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace trunkline {

// Returns a hash of `bytes` that is the same in every process: FNV-1a, then mixed (SplitMix64).
uint64_t StableHash(std::string_view bytes);

class MaglevTable {
 public:
  // A prime. Two endpoints of equal weight among 600 differ by at most 1 % of their slots.
  static constexpr size_t kSlots = 65'537;

  // `weights[i]` >= 0 is the weight of endpoint `ids[i]`; an endpoint of weight 0 gets no slot. An
  // endpoint with less than 1 / kSlots of the weight may get none.
  MaglevTable(std::span<const std::string_view> ids, std::span<const double> weights);

  // Returns true if no endpoint has a positive weight.
  bool empty() const { return slots_.empty(); }
  // Returns the index of the endpoint for a client with `hash`: the first choice for `attempt` 0,
  // then those that follow if earlier ones cannot be used. May repeat endpoints. Requires !empty().
  size_t At(uint64_t hash, size_t attempt) const {
    return slots_[(hash % kSlots + attempt) % kSlots];
  }

 private:
  std::vector<uint32_t> slots_;  // endpoint index by slot
};

}  // namespace trunkline
