// How the proxy forwards the flows of a service to a server; docs/modes.md describes each mode's
// use.
#pragma once

namespace trunkline {

enum class ForwardingMode {
  kTunnel,   // one stream per flow, on a trunk to the server's agent
  kMessage,  // single requests, on upstream connections that clients share
  kDirect,   // one upstream connection per downstream connection
};

}  // namespace trunkline
