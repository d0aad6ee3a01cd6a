// Converts the PROXY protocol version of configurations and snapshots. Thread-safe; keeps no state.
#pragma once

#include <optional>

#include "common/proxy_protocol/proxy_version.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Returns nullopt for a version that only newer programs know.
inline std::optional<ProxyVersion> ReadProxyVersion(v1::ProxyProtocol version) {
  switch (version) {
    case v1::PROXY_PROTOCOL_UNSPECIFIED:
    case v1::PROXY_PROTOCOL_NONE:
      return ProxyVersion::kNone;
    case v1::PROXY_PROTOCOL_V1:
      return ProxyVersion::kV1;
    case v1::PROXY_PROTOCOL_V2:
      return ProxyVersion::kV2;
    default:
      return std::nullopt;
  }
}

inline v1::ProxyProtocol WriteProxyVersion(ProxyVersion version) {
  switch (version) {
    case ProxyVersion::kNone:
      return v1::PROXY_PROTOCOL_NONE;
    case ProxyVersion::kV1:
      return v1::PROXY_PROTOCOL_V1;
    case ProxyVersion::kV2:
      return v1::PROXY_PROTOCOL_V2;
  }
  return v1::PROXY_PROTOCOL_NONE;
}

}  // namespace trunkline
