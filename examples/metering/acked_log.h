// The collectors' memory of what was acknowledged: a text file that storecheck holds against the
// databases.
//
// One line a reading, "METER SEQUENCE PAYLOAD_HASH" (hash in hexadecimal), appended as
// acknowledgements come in, so a file outlives its writer's death but for its last line. AckedLog
// is confined to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace trunkline::metering {

struct AckedReading {
  uint64_t meter_id = 0;
  uint64_t sequence = 0;
  uint64_t payload_hash = 0;
  friend bool operator==(const AckedReading&, const AckedReading&) = default;
};

class AckedLog {
 public:
  // Appends to `path`. An empty path: a log that keeps nothing.
  static absl::StatusOr<AckedLog> Open(const std::string& path);

  void Add(const AckedReading& reading);
  // Writes what was added; an event loop calls it once a pass.
  absl::Status Flush();

 private:
  explicit AckedLog(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string pending_;
};

// Calls `each` for every line, in order. An unfinished last line is left out; any other malformed
// line is INVALID_ARGUMENT with its number.
absl::Status ReadAckedLog(const std::string& path,
                          const std::function<void(const AckedReading&)>& each);

}  // namespace trunkline::metering
