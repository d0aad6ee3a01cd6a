// How flows of a service travel from the proxy to a server; docs/modes.md has what each is for.
#pragma once

namespace trunkline {

enum class ForwardingMode {
  kTunnel,   // a stream on a trunk to the server's agent
  kMessage,  // request by request on connections that clients share
  kDirect,   // a server connection for each client connection
};

}  // namespace trunkline
