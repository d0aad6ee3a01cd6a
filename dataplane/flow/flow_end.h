// How a client connection ends, for the counters and the connection log.
//
// Immutable values.
#pragma once

#include <cstdint>
#include <string_view>

namespace trunkline {

// Outcomes of a flow that the counters distinguish.
enum class FlowEnd {
  kClean,        // both directions ended with FIN
  kClientReset,  // the client reset its connection
  kServerReset,  // the server reset its connection
  kTrunkLost,
  kConnectionLost,  // the shared connection that carried its request
  kRefused,         // endpoints were tried and refused
  kNoEndpoint,      // no endpoint could be tried in time
  kTimeout,
  kShutdown,     // the proxy stops
  kBadRequest,   // the client's bytes violate the service's protocol
  kSlowReader,   // the client does not read its replies
  kSourceLimit,  // its source is at its limit of clients
  kBadHeader,    // the connection does not begin with a PROXY protocol header
  kMemory,       // load shedding: memory was short and much was buffered for it
  kUnwatchable,  // epoll could not watch its socket
};

enum class FlowSide : uint8_t { kNone, kClient, kServer, kProxy };

// Returns the label `cause` of trunkline_proxy_flow_errors_total, or "clean". `lacks_sockets`: this
// machine had no socket for a connection just now, so that no endpoint could be tried.
std::string_view FlowEndName(FlowEnd end, bool lacks_sockets);

// Returns the side whose reset, loss or refusal was the end; kProxy if the proxy decided it; kNone
// for a clean end, whose side is FlowRecord::closed_by.
FlowSide SideOf(FlowEnd end);

}  // namespace trunkline
