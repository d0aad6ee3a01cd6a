// Holds what collectors were told against what the databases contain.
//
// The promise: every acknowledged reading is stored, whole, exactly once in all the databases
// together. Readings that are stored though nobody heard so (the Ack was lost with its connection)
// are no breach; they are counted. Confined to one thread; memory is about 60 bytes an acknowledged
// reading.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trunkline::metering {

struct StoreCheckResult {
  // Different readings that were acknowledged, and rows in the databases.
  uint64_t acknowledged = 0;
  uint64_t stored = 0;
  // Acknowledged, and in no database.
  uint64_t missing = 0;
  // In more than one database, acknowledged or not.
  uint64_t duplicated = 0;
  // The payload in the database is not the one acknowledged, or not the one that the row's own hash
  // names.
  uint64_t corrupted = 0;
  // In a database, and never acknowledged.
  uint64_t unacknowledged = 0;
  // A sentence for each of the first few that are wrong.
  std::vector<std::string> examples;

  bool ok() const { return missing == 0 && duplicated == 0 && corrupted == 0; }
};

// Errors are about files that cannot be read, never about what is in them.
absl::StatusOr<StoreCheckResult> CheckStores(const std::vector<std::string>& acked_logs,
                                             const std::vector<std::string>& databases);

}  // namespace trunkline::metering
