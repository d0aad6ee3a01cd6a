#include "examples/metering/acked_log.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/net/socket.h"

namespace trunkline::metering {

absl::StatusOr<AckedLog> AckedLog::Open(const std::string& path) {
  if (path.empty()) return AckedLog(UniqueFd());
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd) return absl::UnavailableError(absl::StrCat(path, ": ", ErrorText(errno)));
  return AckedLog(std::move(fd));
}

void AckedLog::Add(const AckedReading& reading) {
  if (!fd_) return;
  absl::StrAppendFormat(&pending_, "%d %d %016x\n", reading.meter_id, reading.sequence,
                        reading.payload_hash);
}

absl::Status AckedLog::Flush() {
  size_t written = 0;
  while (written < pending_.size()) {
    const ssize_t n = write(fd_.get(), pending_.data() + written, pending_.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return absl::UnavailableError(absl::StrCat("acknowledgement log: ", ErrorText(errno)));
    written += static_cast<size_t>(n);
  }
  pending_.clear();
  return absl::OkStatus();
}

absl::Status ReadAckedLog(const std::string& path,
                          const std::function<void(const AckedReading&)>& each) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (file.eof()) break;  // no newline: the writer died while it wrote the line
    AckedReading reading;
    int end = 0;
    const int fields = sscanf(line.c_str(), "%lu %lu %16lx%n", &reading.meter_id, &reading.sequence,
                              &reading.payload_hash, &end);
    if (fields != 3 || static_cast<size_t>(end) != line.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": expected METER SEQUENCE HASH; got \"", line, "\""));
    }
    each(reading);
  }
  return absl::OkStatus();
}

}  // namespace trunkline::metering
