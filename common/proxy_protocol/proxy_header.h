// The PROXY protocol header: the first bytes of a connection, in which a proxy names its client.
//
// Reads and writes version 1 (a line of text) and version 2 (binary). The reader gets all bytes
// that have arrived so far and reports a complete, incomplete or invalid header. It skips
// version 2's extensions (TLVs), including their checksum. Where the header names no TCP addresses
// (UNKNOWN, LOCAL, unix sockets, datagrams), the receiver uses the connection's own. Everything
// that the specification does not allow is invalid.
//
// Pure; stateless. Specification: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {

// Both are known, or neither.
struct ProxyAddresses {
  IpPort source;       // the client
  IpPort destination;  // the address that it connected to
};

enum class ProxyHeaderState {
  kMore,   // incomplete
  kWhole,  // complete in `size` bytes; the client's bytes follow
  kBroken,
};

struct ProxyHeaderStep {
  ProxyHeaderState state = ProxyHeaderState::kBroken;
  size_t size = 0;
  ProxyAddresses addresses;
};

// The longest line of version 1, with its CRLF: "the worst case" in section 2.1.
inline constexpr size_t kMaxProxyLineBytes = 107;
// The longest accepted header of version 2. Its length field allows 65,551 bytes; addresses need at
// most 232, and common TLVs (TLS details, connection ids, cloud providers' own) some hundreds.
inline constexpr size_t kMaxProxyHeaderBytes = 4096;

// `bytes`: all bytes so far. A complete or invalid header stays so whatever follows.
ProxyHeaderStep ReadProxyHeader(std::span<const uint8_t> bytes);

// At most kMaxProxyLineBytes; empty for kNone. Addresses of two families are both written as IPv6.
// Unknown addresses give UNKNOWN (version 1) or LOCAL (version 2), which receivers must accept.
std::string WriteProxyHeader(ProxyVersion version, const ProxyAddresses& addresses);

}  // namespace trunkline
