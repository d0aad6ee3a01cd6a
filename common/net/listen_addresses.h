// Which addresses can be listened on together.
//
// Two addresses overlap if they have the same port, and the same host or one is the wildcard of the
// other's family. 0.0.0.0 and [::] do not overlap, because the sockets of services that listen on
// [::] accept IPv6 only (ListenFamilies in socket.h). Host names are compared as text: what they
// resolve to is not known here. Port 0 selects a free port each time.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/net/address.h"

namespace trunkline {

// An address in a form to compare: each way to write an IP address makes the same place. Immutable
// value.
class ListenPlace {
 public:
  explicit ListenPlace(const Address& address);

  bool Overlaps(const ListenPlace& other) const;
  bool is_name() const { return family_ == Family::kName; }
  uint16_t port() const { return port_; }
  const std::string& host() const { return host_; }

 private:
  enum class Family : uint8_t { kName, kIpv4, kIpv6 };

  Family family_ = Family::kName;
  bool is_wildcard_ = false;
  uint16_t port_;
  std::string host_;  // in its shortest form
};

// The addresses of services, none of which overlaps another. Externally synchronized.
class ListenAddresses {
 public:
  // Adds an address of the service. Returns an empty string, or why it cannot be added: it overlaps
  // an address of this or another service, which the text names.
  std::string Add(const std::string& service, const Address& address);
  // Adds all of them, or with an error none.
  absl::Status AddAll(const std::string& service, const std::vector<Address>& addresses);

 private:
  struct Taken {
    ListenPlace place;
    std::string service;
    std::string address;  // as it was written
  };

  void RemoveLast(const Address& address);

  // By port, with the newest last. Few addresses have the same port.
  std::map<uint16_t, std::vector<Taken>> taken_;
};

}  // namespace trunkline
