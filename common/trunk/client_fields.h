// A client's addresses on a trunk: two fields of the CONNECT, which an end that does not know them
// ignores.
//
//   trunkline-client: 192.0.2.1:50000                 the client; different for each stream
//   trunkline-proxy-protocol: v2 198.51.100.1:443     the address that it connected to, and the
//                                                     PROXY protocol version for the server
//
// Pure values and text; see docs/trunk-format.md.
#pragma once

#include "common/http2/header_list.h"
#include "common/proxy_protocol/proxy_header.h"

namespace trunkline {

struct ClientDescription {
  ProxyVersion version = ProxyVersion::kNone;
  // Unknown if the fields are absent or malformed.
  ProxyAddresses addresses;
};

// Returns the fields that describe `client`; both are empty for kNone.
ConnectFields DescribeClient(const ClientDescription& client);
ClientDescription ReadClient(const ConnectFields& fields);

}  // namespace trunkline
