#include "dataplane/flow/client_origin.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "common/base/balancing_policy.h"
#include "common/net/socket.h"
#include "common/proxy_protocol/proxy_header.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {

ProxyAddresses AddressesOf(int fd) {
  return {.source = PeerAddress(fd), .destination = OwnAddress(fd)};
}

bool AsksForOrigin(const EndpointSet& set) {
  return set.limits.max_clients_per_source > 0 || set.send_proxy_protocol != ProxyVersion::kNone ||
         set.policy == BalancingPolicy::kMaglev;
}

bool Admit(const EndpointSet& set, const ProxyAddresses& addresses,
           std::unique_ptr<ClientOrigin>* origin) {
  if (!AsksForOrigin(set)) return true;
  auto made = std::make_unique<ClientOrigin>();
  made->addresses = addresses;
  const uint32_t limit = set.limits.max_clients_per_source;
  if (limit > 0) {
    made->place = SourceLease(set.stats->sources, addresses.source, limit);
    if (!made->place) return false;
  }
  *origin = std::move(made);
  return true;
}

}  // namespace trunkline
