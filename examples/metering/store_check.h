// Compares the acknowledged readings with the databases.
//
// Every acknowledged reading must be stored intact, exactly once in all databases together. A
// stored reading without an acknowledgement (its Ack was lost with the connection) is counted but
// is no violation. Confined to one thread; uses about 60 bytes of memory per acknowledged reading.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trunkline::metering {

struct StoreCheckResult {
  // Distinct acknowledged readings, and rows in the databases.
  uint64_t acknowledged = 0;
  uint64_t stored = 0;
  // Acknowledged readings that are in no database.
  uint64_t missing = 0;
  // Readings in more than one database, acknowledged or not.
  uint64_t duplicated = 0;
  // Payloads that differ from the acknowledged hash or from the row's own hash.
  uint64_t corrupted = 0;
  // Readings in a database that were never acknowledged.
  uint64_t unacknowledged = 0;
  // Describes the first few violations, one sentence each.
  std::vector<std::string> examples;

  bool ok() const { return missing == 0 && duplicated == 0 && corrupted == 0; }
};

// An error means that a file cannot be read; violations are in the result.
absl::StatusOr<StoreCheckResult> CheckStores(const std::vector<std::string>& acked_logs,
                                             const std::vector<std::string>& databases);

}  // namespace trunkline::metering
