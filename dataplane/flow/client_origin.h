// The identity of a client, stored by a flow if its service limits sources, sends PROXY protocol
// headers upstream or picks by client. Other flows have none.
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
  SourceLease place;  // counts among its source's clients, if those are limited
};

// Returns the addresses of a client connection, for clients without a PROXY protocol header.
ProxyAddresses AddressesOf(int fd);

// Returns false if the source of `addresses` is at its limit of clients. `*origin` stays null if
// the service does not need it.
bool Admit(const EndpointSet& set, const ProxyAddresses& addresses,
           std::unique_ptr<ClientOrigin>* origin);

// Returns true if Admit needs addresses for this service.
bool AsksForOrigin(const EndpointSet& set);

}  // namespace trunkline
