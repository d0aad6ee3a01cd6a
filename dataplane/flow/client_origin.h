// Who a client is: what a flow keeps of it where its service limits sources or tells its servers.
// Elsewhere nobody asks, and a flow has none.
//
// Confined to its worker's loop.
#pragma once

#include <memory>

#include "common/proxy_protocol/proxy_header.h"
#include "dataplane/limits/source_table.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

struct ClientOrigin {
  ProxyAddresses addresses;
  SourceLease place;  // among the clients of its source, where those are limited
};

// Of a connection that speaks for itself.
ProxyAddresses AddressesOf(int fd);

// False: the source of `addresses` has as many clients as it may. `*origin` stays null where the
// service has no use for it.
bool Admit(const EndpointSet& set, const ProxyAddresses& addresses,
           std::unique_ptr<ClientOrigin>* origin);

// Whether Admit would need addresses.
bool AsksForOrigin(const EndpointSet& set);

}  // namespace trunkline
