// Picks the listening sockets that get the connections to an address, as the kernel does.
//
// An exact address comes before a wildcard, and a socket of the address's own family before one
// that accepts both. Several sockets share an address by SO_REUSEPORT. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "agent/proc/sock_diag.h"
#include "common/net/ip_port.h"

namespace trunkline {

// `listeners` are the sockets of the port of `target`. Returns the inodes of those that accept its
// connections; empty if none does.
std::set<uint32_t> InodesOfTarget(const std::vector<ListeningSocket>& listeners,
                                  const IpPort& target);

}  // namespace trunkline
