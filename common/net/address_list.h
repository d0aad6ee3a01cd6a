// The network addresses of one host, and which of them to dial next.
//
// AddressList is an immutable, thread-safe value. AddressRotation is confined to its owner's
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/net/socket.h"

namespace trunkline {

// In the order in which they should be tried; never empty. Null while no address is known.
using AddressList = std::shared_ptr<const std::vector<SocketAddress>>;

inline AddressList OneAddress(const SocketAddress& address) {
  return std::make_shared<const std::vector<SocketAddress>>(1, address);
}

// Returns the addresses of a host that need no lookup: IP addresses and unix sockets. Null for a
// host name, and for an IPv6 zone that this machine does not have.
AddressList KnownAddresses(const Address& address);

// Returns true if both lists have the same addresses, in any order. DNS servers rotate the order.
bool SameAddresses(const AddressList& a, const AddressList& b);

// Tries the addresses of a list in turn: an address is used until a connect to it fails.
class AddressRotation {
 public:
  bool empty() const { return addresses_ == nullptr; }
  size_t size() const { return empty() ? 0 : addresses_->size(); }

  // Keeps the current address if `addresses`, which is not null, has it.
  void Set(AddressList addresses);

  // The address to dial now. Requires that the rotation is not empty.
  const SocketAddress& current() const { return (*addresses_)[turn_ % addresses_->size()]; }
  // A number for OnFailed, read before the dial of current().
  uint32_t turn() const { return turn_; }
  // The connect that was dialed at `turn` failed. Connects that were dialed together count once.
  void OnFailed(uint32_t turn) {
    if (turn == turn_) ++turn_;
  }

 private:
  AddressList addresses_;
  uint32_t turn_ = 0;
};

}  // namespace trunkline
