// Whether the local server takes connections.
//
// Streams tell: a failed connect says no, the next good one says yes. But a server that is known to
// be down gets no streams, so nothing would ever say yes again; while in doubt, the agent itself
// tries, once a sample. Pure; externally synchronized: the try is the caller's.
#pragma once

#include <cstdint>
#include <functional>

#include "agent/sample/service_traffic.h"

namespace trunkline {

class Reachability {
 public:
  // `try_connect` is called only while in doubt.
  bool Update(const ServiceTrafficTotals& totals, const std::function<bool()>& try_connect);

 private:
  // Failures that a good try has answered: a worker that gets no streams after its failure keeps
  // saying no.
  uint64_t answered_errors_ = 0;
};

}  // namespace trunkline
