#include "agent/sample/reachability.h"

#include <functional>

#include "agent/sample/service_traffic.h"

namespace trunkline {

bool Reachability::Update(const ServiceTrafficTotals& totals,
                          const std::function<bool()>& try_connect) {
  if (totals.reachable || totals.errors_connect <= answered_errors_) return true;
  if (!try_connect()) return false;
  answered_errors_ = totals.errors_connect;
  return true;
}

}  // namespace trunkline
