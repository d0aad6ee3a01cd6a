// Picks the least loaded of a few endpoints for the next flow.
//
// Two draws miss the best of four servers half of the time, and comparing so few costs no more.
// EndpointPicker uses this class only where workers are few as well: many workers that compare the
// same reports would all send their flows to the same server. docs/decisions.md has the figures.
//
// A weighted draw is picked unless another endpoint is better by a margin of half a flow:
// (in_flight + 0.5) / weight below the drawn one's in_flight / weight. So an idle service follows
// its weights exactly, and one flow at a large server does not send the next one to a small server.
// The bound is that of two draws: beyond a burst, an endpoint with a share p of the weight gets at
// most 1 - (1 - p)^2 of the flows, what it would get if it won each of two draws. Each pick gives
// each candidate that much credit, and an endpoint that is picked spends 1. A server that fails
// fast therefore cannot draw the whole load.
//
// Pure. Pick takes no lock and does not allocate. Externally synchronized.
#pragma once

#include <array>
#include <cstddef>
#include <span>

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
  static constexpr double kMargin = 0.5;

  // Takes another list of endpoints, all with a full credit.
  void SetEndpoints() {
    credits_.fill(kBurst);
    OnCandidatesChanged();
  }
  // Has to be called when candidates or weights have changed.
  void OnCandidatesChanged() { earnings_stale_ = true; }

  // `table`, `loads` and `excluded` as in Balancer::Pick, of at most kMostEndpoints; `draws` draws
  // from `table`; `margin` is in the unit of Load::in_flight. Returns kNone if there is no
  // candidate beside those in `excluded`.
  size_t Pick(const AliasTable& table, const Balancer& draws, std::span<const Balancer::Load> loads,
              FastRandom& random, std::span<const size_t> excluded = {}, double margin = kMargin);

 private:
  void SetEarnings(const AliasTable& table, std::span<const Balancer::Load> loads,
                   std::span<const size_t> excluded);

  using Numbers = std::array<double, kMostEndpoints>;  // by endpoint

  Numbers credits_{};
  Numbers earnings_{};         // at each pick; 0 for those that are not picked
  Numbers inverse_weights_{};  // infinite for those that are not picked
  bool earnings_stale_ = true;
};

}  // namespace trunkline
