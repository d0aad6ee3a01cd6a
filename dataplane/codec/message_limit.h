// Bounds on the size of a message: the default of each service and the largest configurable value.
//
// The proxy buffers a request until it is complete, so the limit also bounds the bytes that one
// client can make the proxy buffer. Pure.
#pragma once

#include <cstdint>

namespace trunkline {

// Far above the requests of metering, caches and queries.
constexpr uint64_t kDefaultMaxMessageBytes = 64 * 1024;
// A larger message is a bulk transfer, for which `tunnel` and `direct` exist. The bound also keeps
// sums of lengths and adjustments far below 2^64.
constexpr uint64_t kLargestMaxMessageBytes = 64 * 1024 * 1024;

}  // namespace trunkline
