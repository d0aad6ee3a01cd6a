#include "common/net/address_list.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "common/net/address.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

bool SameAddress(const SocketAddress& a, const SocketAddress& b) {
  return a.size == b.size && std::memcmp(&a.storage, &b.storage, a.size) == 0;
}

}  // namespace

AddressList KnownAddresses(const Address& address) {
  if (IsHostName(address)) return nullptr;
  const absl::StatusOr<SocketAddress> known = ResolveAddress(address);
  return known.ok() ? OneAddress(*known) : nullptr;
}

bool SameAddresses(const AddressList& a, const AddressList& b) {
  if (a == b) return true;
  return a != nullptr && b != nullptr && a->size() == b->size() &&
         std::is_permutation(a->begin(), a->end(), b->begin(), SameAddress);
}

void AddressRotation::Set(AddressList addresses) {
  const AddressList before = std::exchange(addresses_, std::move(addresses));
  if (before == nullptr || before == addresses_) return;
  const SocketAddress& last = (*before)[turn_ % before->size()];
  const auto kept = std::find_if(addresses_->begin(), addresses_->end(),
                                 [&](const SocketAddress& a) { return SameAddress(a, last); });
  const auto index =
      kept != addresses_->end() ? static_cast<uint32_t>(kept - addresses_->begin()) : 0;
  // A larger turn than any before, so that failures of earlier dials do not count for this list.
  const auto size = static_cast<uint32_t>(addresses_->size());
  turn_ = (turn_ / size + 1) * size + index;
}

}  // namespace trunkline
