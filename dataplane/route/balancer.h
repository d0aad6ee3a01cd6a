// Picks the endpoint for the next flow: the better of two weighted draws.
//
// A weighted draw follows the controller's weights, which are about a second old. Taking the less
// loaded of two draws by what is in flight there right now (load_estimate.h) corrects them between
// updates. No endpoint can attract more than twice its weight's share, so a wrong weight or a
// fast-failing server cannot draw the whole load.
//
// The score is in_flight / weight, and a tie (two idle endpoints, above all) goes to the first
// draw: at light load the weights are followed exactly. (in_flight + 1) / weight would send a light
// load to the heaviest endpoint instead; see docs/decisions.md.
//
// Endpoints that are no candidates right now (unreachable, ejected, excluded by the caller) are
// rejected and drawn again, which leaves the candidates' shares in proportion to their weights. So
// an endpoint that comes or goes costs nothing until candidates hold less than half of the weight.
//
// Pure: values in, an index out. Pick takes no lock and does not allocate. Externally synchronized.
// Two choices: Mitzenmacher, "The power of two choices in randomized load balancing", 2001.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "common/base/random.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {

class Balancer {
 public:
  static constexpr size_t kNone = SIZE_MAX;

  // State of one endpoint.
  struct Load {
    double in_flight = 0;
    bool candidate = true;
  };

  // Without a table, nothing is picked.
  Balancer() = default;
  explicit Balancer(std::shared_ptr<const AliasTable> table) : table_(std::move(table)) {}

  double total_weight() const { return table_->total_weight(); }

  // `loads[i]` describes endpoint i of the table. Returns kNone if there is no candidate beside
  // those in `excluded`, which should be few.
  size_t Pick(std::span<const Load> loads, FastRandom& random,
              std::span<const size_t> excluded = {}) const;
  // Like Pick, but returns one weighted draw, whatever the candidates' load.
  size_t Draw(std::span<const Load> loads, FastRandom& random,
              std::span<const size_t> excluded = {}) const;

  // Returns true if endpoint i may be picked.
  static bool IsEligible(std::span<const Load> loads, std::span<const size_t> excluded, size_t i) {
    return loads[i].candidate && std::ranges::find(excluded, i) == excluded.end();
  }
  // Returns true if endpoint a should be picked rather than b.
  static bool IsBetter(const AliasTable& table, std::span<const Load> loads, size_t a, size_t b) {
    return loads[a].in_flight * table.inverse_weight(a) <
           loads[b].in_flight * table.inverse_weight(b);
  }

 private:
  size_t DrawByScan(std::span<const Load> loads, FastRandom& random,
                    std::span<const size_t> excluded) const;

  std::shared_ptr<const AliasTable> table_ = std::make_shared<AliasTable>();
};

}  // namespace trunkline
