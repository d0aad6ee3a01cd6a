// How a client's addresses travel with its stream through a trunk: two fields of its CONNECT, which
// an end that does not know them ignores.
//
//   trunkline-client: 192.0.2.1:50000                      who; another one for each stream
//   trunkline-proxy-protocol: v2 198.51.100.1:443          what it connected to, and in which
//   version
//                                                          its server wants to be told
//
// Pure values and text; see docs/trunk-format.md.
#pragma once

#include "common/http2/http2_session.h"
#include "common/proxy_protocol/proxy_header.h"

namespace trunkline {

struct ClientDescription {
  ProxyVersion version = ProxyVersion::kNone;
  // Unknown where the stream did not say them, or not in this form.
  ProxyAddresses addresses;
};

// Empty fields for kNone.
ConnectFields DescribeClient(const ClientDescription& client);
ClientDescription ReadClient(const ConnectFields& fields);

}  // namespace trunkline
