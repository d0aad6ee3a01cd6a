// The interface that traffic to the world takes: /proc/net/route (IPv4). Pure and thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace trunkline {

// Of the default route with the smallest metric; NOT_FOUND when there is none.
absl::StatusOr<std::string> ParseDefaultInterface(absl::string_view proc_net_route);

}  // namespace trunkline
