#include "agent/reachability.h"

namespace trunkline {

bool Reachability::Update(const ServiceTrafficTotals& totals,
                          const std::function<bool()>& try_connect) {
  // A worker that gets no streams after its failure keeps saying no: only a new failure counts.
  if (totals.errors_connect > errors_connect_) in_doubt_ = !totals.reachable;
  errors_connect_ = totals.errors_connect;
  if (in_doubt_ && (totals.reachable || try_connect())) in_doubt_ = false;
  return !in_doubt_;
}

}  // namespace trunkline
