// The rules of the three configuration files that go beyond single fields: between fields, and on
// what an address is for.
//
// This is their only place: --check-config, `trunkctl check` and the start of each program use it,
// and so do the checks of messages from the network. (The rules of single fields are in the .proto
// files; the loader checks them.) Errors have the form "services[2].name: expected ...; got ...".
// Thread-safe; keeps no state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

// An address to listen on: an IP address, which may be a wildcard, and a port, which may be 0. Host
// names are refused: they may stand for several addresses, and DNS could delay a proxy's listeners.
absl::Status CheckListenAddress(std::string_view field, std::string_view text);

// Returns one line for each error in the addresses on which one service listens: in their number,
// and in each by itself. `field` is the list's name in errors.
std::vector<std::string> FindListenErrors(
    const std::string& field, const google::protobuf::RepeatedPtrField<std::string>& listen);

// An address at which another machine reaches a server: host:port, where the host is no wildcard
// and the port not 0.
absl::Status CheckReachableAddress(std::string_view field, std::string_view text);

// Parses a host to listen on: an IP address without a port, an IPv6 one with or without brackets,
// and possibly with a zone. Returns it as Address::host has it: without brackets.
absl::StatusOr<std::string> ReadBindHost(std::string_view field, std::string_view text);

// Returns true for a wildcard host: 0.0.0.0, :: in any spelling, or none.
bool IsWildcardHost(std::string_view host);

// Return one line for each error; none for a valid configuration. The proxy's and the agent's TLS
// files are not read.
std::vector<std::string> FindErrors(const v1::ControllerConfig& config);
std::vector<std::string> FindErrors(const v1::ProxyConfig& config);
std::vector<std::string> FindErrors(const v1::AgentConfig& config);

// INVALID_ARGUMENT with the lines of FindErrors.
template <typename Config>
absl::Status CheckConfig(const Config& config) {
  std::string lines;
  for (const std::string& error : FindErrors(config)) {
    lines += (lines.empty() ? "" : "\n") + error;
  }
  return lines.empty() ? absl::OkStatus() : absl::InvalidArgumentError(lines);
}

}  // namespace trunkline
