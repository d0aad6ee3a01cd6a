// How large a message may be: what a user can set for each service, and what nobody can.
//
// A request is held by the proxy until it is whole, for each client, so the limit is also what one
// client can make a proxy hold. Pure.
#pragma once

#include <cstdint>

namespace trunkline {

// Requests of metering, caches and queries fit many times over.
constexpr uint64_t kDefaultMaxMessageBytes = 64 * 1024;
// Above this a message is a transfer, for which `tunnel` and `direct` exist. It also keeps the sums
// of lengths and adjustments far from the end of 64 bits.
constexpr uint64_t kLargestMaxMessageBytes = 64 * 1024 * 1024;

}  // namespace trunkline
