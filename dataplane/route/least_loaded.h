// Picks the least loaded of a few endpoints for the next flow.
//
// Two draws miss the best of four servers half of the time. One worker that sends all of a
// service's traffic then does worse than a comparison of all, which costs nothing for so few. Many
// workers that all compare the same reports would send their flows to the same server, so
// EndpointPicker uses this class only where they are few as well; docs/decisions.md has the
// figures.
//
// The score is that of two draws (balancer.h): in_flight / weight, ties to a weighted draw, a hot
// endpoint after all that are not. So is the bound: of a share p of the weight, no endpoint gets
// more than 1 - (1 - p)^2 of the flows, what it would get if it won each of two draws, beyond a
// burst. Each pick gives each candidate that much credit, and an endpoint that is picked spends 1.
// A server that fails fast therefore cannot draw the whole load.
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
  // A comparison of so many costs about as much as two draws.
  static constexpr size_t kMostEndpoints = 8;
  // Flows beyond its bound that an endpoint may get in a row: enough for the others to leave one
  // alone that is stuck for a moment.
  static constexpr double kBurst = 16;

  // Takes another list of endpoints, all with a full credit.
  void SetEndpoints(size_t count) {
    credits_.assign(count, kBurst);
    OnCandidatesChanged();
  }
  // The candidates or the weights are not those of the last pick.
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
