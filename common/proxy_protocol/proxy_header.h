// The PROXY protocol's header: the first bytes of a connection, in which a proxy says for whom it
// speaks, because the connection itself shows only the proxy.
//
// Reads versions 1 (a line of text) and 2 (binary) and writes both. The reader is shown the bytes
// that have come so far, from the first one, and says whether the header is whole, not yet, or none
// and never will be. Additions of version 2 (TLVs) are stepped over, their checksum with them.
// Where the header names no TCP addresses (UNKNOWN, LOCAL, unix sockets, datagrams) its receiver
// goes by the connection's own. What the specification does not allow is no header.
//
// Pure; no state, no errors but kBroken. Text:
// https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {

// Both known, or neither.
struct ProxyAddresses {
  IpPort source;       // the client
  IpPort destination;  // what it connected to
};

enum class ProxyHeaderState {
  kMore,   // a beginning of one
  kWhole,  // `size` bytes of it; what follows is the client's
  kBroken,
};

struct ProxyHeaderStep {
  ProxyHeaderState state = ProxyHeaderState::kBroken;
  size_t size = 0;
  ProxyAddresses addresses;
};

// A line of version 1, with its end. "The worst case" of the specification, 2.1.
inline constexpr size_t kMaxProxyLineBytes = 107;
// A header of version 2. Its length field allows 65,551; addresses need 232 at most, and the TLVs
// that are in use (TLS details, a connection's id, cloud providers' own) some hundreds.
inline constexpr size_t kMaxProxyHeaderBytes = 4096;

// `bytes`: all that came so far. One that is whole or broken stays so whatever follows.
ProxyHeaderStep ReadProxyHeader(std::span<const uint8_t> bytes);

// At most kMaxProxyLineBytes. Addresses of two families are both written as IPv6. Unknown ones:
// "UNKNOWN" (1) or LOCAL (2), which receivers have to take. Empty for kNone.
std::string WriteProxyHeader(ProxyVersion version, const ProxyAddresses& addresses);

}  // namespace trunkline
