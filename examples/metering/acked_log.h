// The log of acknowledged readings: a text file that storecheck compares with the databases.
//
// Each reading has one line, "METER SEQUENCE PAYLOAD_HASH" (hash in hexadecimal), appended when its
// Ack arrives, so a crash of the writer damages at most the last line. AckedLog is confined to one
// thread.
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
  // Appends to `path`. With an empty path the log discards everything.
  static absl::StatusOr<AckedLog> Open(const std::string& path);

  void Add(const AckedReading& reading);
  // Writes the added lines; an event loop calls it once per pass.
  absl::Status Flush();

 private:
  explicit AckedLog(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string pending_;
};

// Calls `each` for every line, in order, except an unfinished last line. INVALID_ARGUMENT gives the
// number of a malformed line.
absl::Status ReadAckedLog(const std::string& path,
                          const std::function<void(const AckedReading&)>& each);

}  // namespace trunkline::metering
