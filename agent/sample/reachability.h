// Decides whether the local server accepts connections.
//
// A failed connect of a stream makes the server unreachable and a later success makes it reachable.
// But proxies open no streams to a server that is down, so while in doubt the agent probes the
// server itself, once per sample. Pure: the caller supplies the probe. Externally synchronized.
#pragma once

#include <cstdint>
#include <functional>

#include "agent/sample/service_traffic.h"

namespace trunkline {

class Reachability {
 public:
  // Calls `try_connect` only while in doubt.
  bool Update(const ServiceTrafficTotals& totals, const std::function<bool()>& try_connect);

 private:
  // Failures followed by a successful probe. A worker without streams since its failure still
  // reports the server as unreachable.
  uint64_t answered_errors_ = 0;
};

}  // namespace trunkline
