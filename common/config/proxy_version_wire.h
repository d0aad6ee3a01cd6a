// The PROXY protocol's version as configuration and snapshots carry it. Pure; header only, so that
// each process's wire code can have it without linking the others'.
#pragma once

#include <optional>

#include "common/proxy_protocol/proxy_version.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// None: a version that this program does not know, from a newer one.
inline std::optional<ProxyVersion> ReadProxyVersion(v1::ProxyProtocol version) {
  switch (version) {
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
