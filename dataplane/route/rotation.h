// Picks endpoints in turn, each in exact proportion to its weight: weighted round robin.
//
// Each endpoint is due again 1 / weight after its last turn, and the one that is due first is next,
// so the turns of an endpoint are spread evenly. The first turns are at random, because workers
// that all began with the first endpoint would send it a burst after each change of the weights.
// Endpoints that are no candidates miss their turns.
//
// Pure. Next costs O(log n), takes no lock and does not allocate. Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {

class Rotation {
 public:
  // Takes new endpoints or weights. O(n).
  void Reset(const AliasTable& table, FastRandom& random);
  // The arguments are those of Balancer::Pick, and the table that of the last Reset. Returns kNone
  // if there is no candidate beside those in `excluded`, which keep their turns.
  size_t Next(const AliasTable& table, std::span<const Balancer::Load> loads,
              std::span<const size_t> excluded = {});

 private:
  struct Turn {
    double due;
    uint32_t endpoint;
    // std::push_heap keeps the largest first.
    bool operator<(const Turn& other) const { return due > other.due; }
  };

  void Push(Turn turn);

  std::vector<Turn> turns_;    // a heap
  std::vector<Turn> skipped_;  // scratch of Next
};

}  // namespace trunkline
