// Pages of responses that list endpoints: how large one gets, and the token that asks for the next.
// Pure. Thread-safe; keeps no state.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "controller/core/load_report.h"

namespace trunkline {

// Below what gRPC clients accept by default, 4 MiB, with room for the page token.
inline constexpr size_t kMaxPageBytes = 4'000'000;
// Tag and length of an item in a response.
inline constexpr size_t kItemOverhead = 4;

// Returns the token for the page after the one that ends with `last`.
std::string WritePageToken(const EndpointKey& last);
// Returns the last endpoint of the page before; nullopt for the empty token of the first page.
// Returns INVALID_ARGUMENT for a token that no response had.
absl::StatusOr<std::optional<EndpointKey>> ReadPageToken(const std::string& token);

}  // namespace trunkline
