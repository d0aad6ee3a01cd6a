// How the proxy forwards the flows of a service to a server; docs/modes.md describes each mode's
// use.
#pragma once

#include <cstddef>
#include <string_view>

namespace trunkline {

enum class ForwardingMode {
  kTunnel,   // one stream per flow, on a trunk to the server's agent
  kMessage,  // single requests, on upstream connections that clients share
  kDirect,   // one upstream connection per downstream connection
};
inline constexpr size_t kForwardingModes = 3;

// Returns the mode's name in the configuration.
constexpr std::string_view ModeName(ForwardingMode mode) {
  constexpr std::string_view kNames[kForwardingModes] = {"tunnel", "message", "direct"};
  return kNames[static_cast<size_t>(mode)];
}

}  // namespace trunkline
