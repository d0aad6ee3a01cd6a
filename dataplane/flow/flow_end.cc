#include "dataplane/flow/flow_end.h"

#include <string_view>

namespace trunkline {

std::string_view FlowEndName(FlowEnd end, bool lacks_sockets) {
  switch (end) {
    case FlowEnd::kClean:
      return "clean";
    case FlowEnd::kClientReset:
      return "client_reset";
    case FlowEnd::kServerReset:
      return "server_reset";
    case FlowEnd::kTrunkLost:
      return "trunk_lost";
    case FlowEnd::kConnectionLost:
      return "connection_lost";
    case FlowEnd::kRefused:
      return "connect_refused";
    case FlowEnd::kNoEndpoint:
      return lacks_sockets ? "no_socket" : "no_endpoint";
    case FlowEnd::kTimeout:
      return "timeout";
    case FlowEnd::kShutdown:
      return "shutdown";
    case FlowEnd::kBadRequest:
      return "bad_request";
    case FlowEnd::kSlowReader:
      return "slow_reader";
    case FlowEnd::kSourceLimit:
      return "source_limit";
    case FlowEnd::kBadHeader:
      return "proxy_header";
    case FlowEnd::kMemory:
      return "memory";
    case FlowEnd::kUnwatchable:
      return "no_socket";
  }
  return "";
}

FlowSide SideOf(FlowEnd end) {
  switch (end) {
    case FlowEnd::kClean:
      return FlowSide::kNone;
    case FlowEnd::kClientReset:
      return FlowSide::kClient;
    case FlowEnd::kServerReset:
    case FlowEnd::kTrunkLost:
    case FlowEnd::kConnectionLost:
    case FlowEnd::kRefused:
      return FlowSide::kServer;
    default:
      return FlowSide::kProxy;
  }
}

}  // namespace trunkline
