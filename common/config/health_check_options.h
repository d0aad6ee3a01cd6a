// Validates the health check of a service, for the controller's configuration and the proxy's
// snapshots alike. Thread-safe; keeps no state.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {

// Status codes of HTTP, both ends included.
struct StatusRange {
  int first = 0;
  int last = 0;
  friend bool operator==(const StatusRange&, const StatusRange&) = default;
};

// Reads "204" or "200-299". Returns nullopt for anything else, and for codes outside 100 to 599.
std::optional<StatusRange> ParseStatusRange(std::string_view text);

// Reads "00 01ff": two hexadecimal digits for each byte, with or without single spaces between
// bytes. Returns nullopt for anything else.
std::optional<std::string> ParseHexBytes(std::string_view text);

// Returns the time after which a check fails, also if it is unset. `interval` is the one in effect.
absl::Duration CheckTimeoutOf(const v1::HealthCheck& check, absl::Duration interval);
// Returns the interval in effect.
absl::Duration CheckIntervalOf(const v1::HealthCheck& check);

// Checks the health check of a service with this mode and these message options. Returns
// INVALID_ARGUMENT with the field below `health_check`, the valid values, the value, and why a
// check is not possible in such a service.
absl::Status CheckHealthCheck(const v1::HealthCheck& check, v1::ForwardingMode mode,
                              const v1::MessageOptions& message);

}  // namespace trunkline
