// Finds the interface of the default route in /proc/net/route (IPv4) and /proc/net/ipv6_route. Pure
// and thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// Returns the interface of the default route with the smallest metric, or NOT_FOUND if there is no
// default route.
absl::StatusOr<std::string> ParseDefaultInterface(absl::string_view proc_net_route);
// The same for IPv6.
absl::StatusOr<std::string> ParseDefaultInterface6(absl::string_view proc_net_ipv6_route);

}  // namespace trunkline
