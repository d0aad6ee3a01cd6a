// Picks the least loaded of a few endpoints for the next flow.
//
// Two draws miss the best of four servers half of the time, and comparing so few costs no more.
// EndpointPicker uses this class only where workers are few as well: many workers that compare the
// same reports would all send their flows to the same server. docs/decisions.md has the figures.
//
// The score is that of two draws (balancer.h). Ties go to a weighted draw, and a hot endpoint loses
// to one that is not hot. The bound is that of two draws, too: beyond a burst, an endpoint with a
// share p of the weight gets at most 1 - (1 - p)^2 of the flows, what it would get if it won each
// of two draws. Each pick gives each candidate that much credit, and an endpoint that is picked
// spends 1. A server that fails fast therefore cannot draw the whole load.
//
// Pure. Pick takes no lock and does not allocate. Externally synchronized.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "common/base/random.h"
#include "dataplane/route/balancer.h"
#include "dataplane/table/alias_table.h"

namespace trunkline {

class LeastLoaded {
 public:
  // Comparing more would cost more than 50 ns.
  static constexpr size_t kMostEndpoints = 8;
  // Flows beyond its bound that an endpoint may get in a row. With fewer, the others could not take
  // the flows of one that is stuck for a moment.
  static constexpr double kBurst = 16;

  // Takes another list of endpoints, all with a full credit.
  void SetEndpoints(size_t count) {
    credits_.assign(count, kBurst);
    OnCandidatesChanged();
  }
  // Has to be called when candidates or weights have changed.
  void OnCandidatesChanged() { earnings_stale_ = true; }

  // `table`, `loads` and `excluded` as in Balancer::Pick; `draws` draws from `table`. Returns kNone
  // if there is no candidate beside those in `excluded`.
  size_t Pick(const AliasTable& table, const Balancer& draws, std::span<const Balancer::Load> loads,
              FastRandom& random, std::span<const size_t> excluded = {});

 private:
  void SetEarnings(const AliasTable& table, std::span<const Balancer::Load> loads,
                   std::span<const size_t> excluded);
  double Rank(const AliasTable& table, std::span<const Balancer::Load> loads, size_t i) const;

  std::vector<double> credits_;   // by endpoint
  std::vector<double> earnings_;  // by endpoint, at each pick; 0 for those that are not picked
  bool earnings_stale_ = true;
};

}  // namespace trunkline
