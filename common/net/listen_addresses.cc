#include "common/net/listen_addresses.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/net/address.h"

namespace trunkline {

ListenPlace::ListenPlace(const Address& address) : port_(address.port), host_(address.host) {
  in_addr ipv4;
  in6_addr ipv6;
  char text[INET6_ADDRSTRLEN];
  // An address with a zone ("fe80::1%eth0") stays as it is written.
  if (inet_pton(AF_INET, host_.c_str(), &ipv4) == 1) {
    family_ = Family::kIpv4;
    is_wildcard_ = ipv4.s_addr == INADDR_ANY;
  } else if (inet_pton(AF_INET6, host_.c_str(), &ipv6) == 1) {
    family_ = Family::kIpv6;
    is_wildcard_ = IN6_IS_ADDR_UNSPECIFIED(&ipv6);
    host_ = inet_ntop(AF_INET6, &ipv6, text, sizeof text);
  } else if (host_.find(':') != host_.npos) {
    family_ = Family::kIpv6;
  } else {
    host_ = absl::AsciiStrToLower(host_);
  }
}

bool ListenPlace::Overlaps(const ListenPlace& other) const {
  return port_ != 0 && port_ == other.port_ && family_ == other.family_ &&
         (is_wildcard_ || other.is_wildcard_ || host_ == other.host_);
}

std::string ListenAddresses::Add(const std::string& service, const Address& address) {
  const ListenPlace place(address);
  std::vector<Taken>& taken = taken_[address.port];
  for (const Taken& other : taken) {
    const bool own = other.service == service;
    if (other.place.host() == place.host() && (own || address.port != 0)) {
      return own ? absl::StrCat("service ", service, " lists ", address.ToString(), " twice")
                 : absl::StrCat("services ", other.service, " and ", service, " both listen on ",
                                other.address);
    }
    if (!place.Overlaps(other.place)) continue;
    return absl::StrCat("service ", service, " cannot listen on ", address.ToString(),
                        " beside service ", other.service, " on ", other.address,
                        ", because one address includes the other");
  }
  taken.push_back({place, service, address.ToString()});
  return "";
}

absl::Status ListenAddresses::AddAll(const std::string& service,
                                     const std::vector<Address>& addresses) {
  for (size_t i = 0; i < addresses.size(); ++i) {
    const std::string why = Add(service, addresses[i]);
    if (why.empty()) continue;
    while (i-- > 0) RemoveLast(addresses[i]);
    return absl::InvalidArgumentError(why);
  }
  return absl::OkStatus();
}

void ListenAddresses::RemoveLast(const Address& address) { taken_[address.port].pop_back(); }

}  // namespace trunkline
